"""Networks as packages on PyPI build them, on tf_keras: installed aside, and given tf_keras as their Keras.

```python
install(directory)
add_to_path(directory)
model = NETWORKS["efficientnet:EfficientNetB0"].build()
```

No weights are downloaded. Most of the packages are older than Keras 3; they import Keras by names that it had when they
were written. While one is imported and builds, `keras` and its old modules are those of tf_keras.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.abc
import importlib.machinery
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tf_keras as keras

DIRECTORY = Path(tempfile.gettempdir()) / "tfmot_swd_published_packages"
VERSIONS = {
    "keras-cv-attention-models": "1.4.3",
    "image-classifiers": "1.0.0",
    "segmentation-models": "1.0.1",
    "keras-unet-collection": "0.1.13",
    "efficientnet": "1.1.1",
    "keras-efficientnet-v2": "1.2.2",
    "keras-tcn": "3.5.7",
    "mtcnn": "0.1.1",
    "vit-keras": "0.2.0",
    "keras-resnet": "0.2.0",
    "keras-retinanet": "1.0.0",
    "keras-segmentation": "0.3.0",
    "keras-unet": "0.1.2",
}
# Of which others take their layers.
_NEEDED = {"keras-applications": "1.0.8"}
# Readers of images and the like, which no network needs.
_STUBS = ("cv2", "imageio", "imgaug", "progressbar", "skimage", "validators")


def install(directory: Path) -> None:
    """Installs the packages, and nothing that they depend on, into a directory unless they are there."""
    pins = [f"{name}=={version}" for name, version in (VERSIONS | _NEEDED).items()]
    done = directory / "installed.txt"
    if done.exists() and done.read_text().split() == pins:
        return
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", f"--target={directory}"]
    subprocess.run([*command, *pins], check=True)
    done.write_text("\n".join(pins))


def add_to_path(directory: Path) -> None:
    """Makes what is installed there importable, after everything else."""
    if str(directory) not in sys.path:
        sys.path.append(str(directory))


@contextmanager
def tf_keras_as_keras() -> Iterator[None]:
    """Lets `import keras` give tf_keras, with its modules of other times, and missing readers of images give stubs."""
    finder = _Finder()
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "keras"}
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.split(".")[0] == "keras"]:
            del sys.modules[name]
        sys.modules.update(hidden)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules of tf_keras by Keras's names, and stubs."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.split(".")[0] not in ("keras", *_STUBS):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        top, _, rest = spec.name.partition(".")
        return _alias(rest) if top == "keras" else _Stub(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Does nothing, as the module is there."""


def _alias(name: str) -> types.ModuleType:
    """Returns a module with the names of a module of Keras, as tf_keras has them."""
    made = types.ModuleType(f"keras.{name}".rstrip("."))
    found = False
    for place in ("tf_keras.api._v2.keras", "tf_keras.src", "tf_keras"):
        try:
            module = importlib.import_module(f"{place}.{name}".rstrip("."))
        except ModuleNotFoundError:
            continue
        found = True
        made.__dict__.update({key: value for key, value in vars(module).items() if not key.startswith("__")})
    if name in _MOVED:
        found = True
        made.__dict__.update(_MOVED[name]())
    if not found:
        raise ModuleNotFoundError(f"tf_keras has no {name}", name=f"keras.{name}")
    made.__dict__["__version__"] = keras.__version__
    return made


# What once had a module of its own.
_MOVED: dict[str, Callable[[], dict[str, Any]]] = {
    "utils.generic_utils": lambda: {"get_custom_objects": keras.utils.get_custom_objects},
    "layers.merge": lambda: vars(keras.layers),
    "engine.topology": lambda: {"get_source_inputs": keras.utils.get_source_inputs},
}


class _Stub(types.ModuleType):
    """A module all of whose names are there and do nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of a package.

    Args:
      package: on PyPI.
      name: of the function that builds it, from the package's main module or with modules below it.
      shape: of one input.
      options: further arguments.
    """

    package: str
    name: str
    shape: tuple[int, ...]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def title(self) -> str:
        """What it is called in a table: what a user would write."""
        words = [str(value) for value in self.options.values() if isinstance(value, str)]
        return f"{self.name}({', '.join(words)})" if words else self.name

    @property
    def key(self) -> str:
        """The name by which a command asks for it."""
        return f"{self.package}:{self.title}"

    def build(self) -> keras.Model:
        """Returns the network with the initial weights of its package."""
        with tf_keras_as_keras():
            model = _BUILDERS[self.package](self)
        if keras.backend.floatx() == "float64" and any(layer.compute_dtype == "float32" for layer in model.layers):
            # A classifier that is float32 under any policy would round what float64 is to tell from rounding.
            return keras.models.clone_model(model, clone_function=_in_float64)
        return model


def _in_float64(layer: keras.layers.Layer) -> keras.layers.Layer:
    config = layer.get_config()
    if layer.compute_dtype == "float32" and "dtype" in config:
        config["dtype"] = "float64"
    return type(layer).from_config(config)


def _named(module: str, name: str) -> Any:
    """Returns a function of a package by its name within a module, with modules or other names for them before it."""
    found = importlib.import_module(module)
    for part in name.split("."):
        if not hasattr(found, part):
            importlib.import_module(f"{found.__name__}.{part}")
        found = getattr(found, part)
    return found


def _attention_models(network: Network) -> keras.Model:
    function = _named("keras_cv_attention_models", network.name)
    options = {"pretrained": None, "classifier_activation": None, **network.options}
    if network.name.startswith(("volo", "yolox")):
        # These have no such argument.
        del options["classifier_activation"]
    if network.name.startswith("efficientdet"):
        # Where this is None, the backbone asks for weights of its own; of this name there are none.
        options["pretrained"] = "none"
    return function(input_shape=network.shape, **options)


def _image_classifiers(network: Network) -> keras.Model:
    made, _ = importlib.import_module("classification_models.tfkeras").Classifiers.get(network.name)
    return _logits(made(network.shape, weights=None, classes=100))


def _segmentation_models(network: Network) -> keras.Model:
    function = _named("segmentation_models", network.name)
    options = {"encoder_weights": None, "activation": "linear", "classes": 3, **network.options}
    return function(options.pop("backbone"), input_shape=network.shape, **options)


def _unet_collection(network: Network) -> keras.Model:
    function = _named("keras_unet_collection.models", network.name)
    options = {"output_activation": None, "n_labels": 3, **network.options}
    return function(input_size=network.shape, **options)


def _efficientnet(network: Network) -> keras.Model:
    function = _named("efficientnet.tfkeras", network.name)
    return _logits(function(weights=None, input_shape=network.shape, classes=100))


def _efficientnet_v2(network: Network) -> keras.Model:
    function = _named("keras_efficientnet_v2", network.name)
    return function(pretrained=None, input_shape=network.shape, classifier_activation=None, num_classes=100)


def _tcn(network: Network) -> keras.Model:
    inputs = keras.Input(network.shape)
    x = _named("tcn", "TCN")(**network.options)(inputs)
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def _mtcnn(network: Network) -> keras.Model:
    model = getattr(_named("mtcnn.network.factory", "NetworkFactory")(), network.name)(network.shape)
    makers = {id(layer.output): layer for layer in model.layers}
    found = [makers[id(output)] for output in model.outputs]
    # A softmax of random logits is 0 or 1.
    outputs = [each.input if isinstance(each, keras.layers.Softmax) else each.output for each in found]
    return keras.Model(model.inputs, outputs)


def _vit(network: Network) -> keras.Model:
    function = _named("vit_keras.vit", network.name)
    return function(image_size=network.shape[0], classes=100, activation="linear", **network.options)


def _resnet(network: Network) -> keras.Model:
    function = _named("keras_resnet.models", network.name)
    return _logits(function(keras.Input(network.shape), classes=100))


def _retinanet(network: Network) -> keras.Model:
    backbone = _named("keras_retinanet.models", "backbone")(network.options["backbone"])
    return backbone.retinanet(5, inputs=keras.Input(network.shape))


def _segmentation(network: Network) -> keras.Model:
    function = _named("keras_segmentation.models", network.name)
    height, width, _ = network.shape
    return _logits(function(n_classes=3, input_height=height, input_width=width))


def _unet(network: Network) -> keras.Model:
    function = _named("keras_unet.models", network.name)
    return function(network.shape, num_classes=3, output_activation="linear")


def _logits(model: keras.Model) -> keras.Model:
    """Returns the model without the softmax of its last layer, which would hide differences."""
    last = model.layers[-1]
    if getattr(last, "activation", None) is not keras.activations.softmax:
        return model
    if isinstance(last, (keras.layers.Activation, keras.layers.Softmax)):
        return keras.Model(model.inputs, last.input)
    last.activation = keras.activations.linear
    return keras.models.clone_model(model)


_BUILDERS: dict[str, Callable[[Network], keras.Model]] = {
    "keras-cv-attention-models": _attention_models,
    "image-classifiers": _image_classifiers,
    "segmentation-models": _segmentation_models,
    "keras-unet-collection": _unet_collection,
    "efficientnet": _efficientnet,
    "keras-efficientnet-v2": _efficientnet_v2,
    "keras-tcn": _tcn,
    "mtcnn": _mtcnn,
    "vit-keras": _vit,
    "keras-resnet": _resnet,
    "keras-retinanet": _retinanet,
    "keras-segmentation": _segmentation,
    "keras-unet": _unet,
}
