"""Sliced optimizers stand where the larger ones stood: state to the bit, and the same next step."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tfmot_swd.channels.rebuild import Slicing
from tfmot_swd.keras2.optimizer_state import sliced_optimizer, slots_of

new, old = keras.optimizers, keras.optimizers.legacy
ROWS, COLUMNS = np.array([True, False, True]), np.array([False, True, True, True])

OPTIMIZERS = {
    "sgd": lambda: new.SGD(0.1),
    "momentum": lambda: new.SGD(0.1, momentum=0.9),
    "nesterov": lambda: new.SGD(0.1, momentum=0.9, nesterov=True),
    "ema": lambda: new.SGD(0.1, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=4),
    "adam": lambda: new.Adam(0.01),
    "amsgrad": lambda: new.Adam(0.01, amsgrad=True),
    "adam_ema": lambda: new.Adam(0.01, use_ema=True, ema_momentum=0.5),
    "adamw": lambda: new.AdamW(0.01, weight_decay=0.1),
    "rmsprop": lambda: new.RMSprop(0.01),
    "rmsprop_momentum": lambda: new.RMSprop(0.01, momentum=0.9),
    "rmsprop_centered": lambda: new.RMSprop(0.01, momentum=0.9, centered=True),
    "adagrad": lambda: new.Adagrad(0.1),
    "adadelta": lambda: new.Adadelta(1.0),
    "adamax": lambda: new.Adamax(0.01),
    "nadam": lambda: new.Nadam(0.01),
    "ftrl": lambda: new.Ftrl(0.1, l1_regularization_strength=0.01),
    "lion": lambda: new.Lion(0.01),
    "clipvalue": lambda: new.Adam(0.01, clipvalue=0.5),
    "schedule": lambda: new.SGD(new.schedules.PiecewiseConstantDecay([2, 3], [0.1, 0.2, 0.3]), momentum=0.9),
    "legacy_sgd": lambda: old.SGD(0.1),
    "legacy_nesterov": lambda: old.SGD(0.1, momentum=0.9, nesterov=True),
    "legacy_adam": lambda: old.Adam(0.01, decay=0.1),
    "legacy_amsgrad": lambda: old.Adam(0.01, amsgrad=True),
    "legacy_rmsprop": lambda: old.RMSprop(0.01, momentum=0.9, centered=True),
    "legacy_adagrad": lambda: old.Adagrad(0.1),
    "legacy_adadelta": lambda: old.Adadelta(1.0),
    "legacy_adamax": lambda: old.Adamax(0.01),
    "legacy_nadam": lambda: old.Nadam(0.01),
    "legacy_ftrl": lambda: old.Ftrl(0.1),
    "legacy_schedule": lambda: old.SGD(new.schedules.PiecewiseConstantDecay([2, 3], [0.1, 0.2, 0.3]), momentum=0.9),
}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


class Variables:
    """A kernel that loses a row and a column, a bias that loses an entry, and a scale that stays whole."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.kernel = tf.Variable(rng.normal(size=(3, 4)).astype(np.float32), name="kernel")
        self.bias = tf.Variable(rng.normal(size=4).astype(np.float32), name="bias")
        self.scale = tf.Variable(rng.normal(size=5).astype(np.float32), name="scale")
        self.all = [self.kernel, self.bias, self.scale]
        masks = [{0: ROWS, 1: COLUMNS}, {0: COLUMNS}, {}]
        self.small = [
            tf.Variable(Slicing(each, None, mask).of(each.numpy()), name=each.name.split(":")[0])
            for each, mask in zip(self.all, masks, strict=True)
        ]
        self.slicings = [Slicing(*each) for each in zip(self.all, self.small, masks, strict=True)]

    def gradients(self, seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [rng.normal(size=each.shape).astype(np.float32) for each in self.all]

    def train(self, optimizer, steps=3) -> None:
        step = applying(optimizer, self.all)
        for seed in range(steps):
            step([tf.constant(each) for each in self.gradients(seed)])

    def shrink(self) -> None:
        for each in self.slicings:
            each.target.assign(each.of(each.source.numpy()))


def applying(optimizer, variables):
    def step(gradients):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    return step


def state(optimizer) -> dict[str, np.ndarray]:
    """Returns the optimizer's variables by name, in its order; Keras puts the optimizer's name before some."""
    listed = optimizer.variables() if isinstance(optimizer, old.Optimizer) else optimizer.variables
    return {
        each.name.removeprefix(
            f"{optimizer._name if isinstance(optimizer, old.Optimizer) else optimizer.name}/"
        ): each.numpy()
        for each in listed
    }


def expected(optimizer, slicings) -> dict[str, np.ndarray]:
    """Slices each slot by hand, found by the name that these tests gave to its variable."""
    by_name = {each.source.name.split(":")[0]: each for each in slicings}
    found = {}
    for name, value in state(optimizer).items():
        owner = next((part for part in name.split(":")[0].split("/") if part in by_name), None)
        found[name] = by_name[owner].of(value) if owner else value
    return found


def assert_same_state(given: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert list(given) == list(wanted)
    for name, value in wanted.items():
        np.testing.assert_array_equal(given[name], value, err_msg=name)


@every_optimizer
def test_state_is_sliced_to_the_bit_under_the_same_names(name):
    variables, optimizer = Variables(), OPTIMIZERS[name]()
    variables.train(optimizer)
    wanted = expected(optimizer, variables.slicings)
    sliced = sliced_optimizer(optimizer, variables.slicings)
    assert type(sliced) is type(optimizer)
    assert sliced.get_config() == optimizer.get_config()
    assert sliced.iterations.numpy() == 3
    assert_same_state(state(sliced), wanted)


@every_optimizer
@pytest.mark.parametrize("wrap", [lambda step: step, tf.function], ids=["eager", "graph"])
def test_next_steps_are_those_of_the_larger_variables(name, wrap):
    variables, optimizer = Variables(), OPTIMIZERS[name]()
    step = wrap(applying(optimizer, variables.all))
    for seed in range(3):
        step([tf.constant(each) for each in variables.gradients(seed)])
    variables.shrink()
    sliced = sliced_optimizer(optimizer, variables.slicings)
    small_step = wrap(applying(sliced, variables.small))
    for seed in (3, 4):
        gradients = variables.gradients(seed)
        step([tf.constant(each) for each in gradients])
        small = [each.of(value) for each, value in zip(variables.slicings, gradients, strict=True)]
        small_step([tf.constant(each) for each in small])
    for each in variables.slicings:
        np.testing.assert_allclose(each.target.numpy(), each.of(each.source.numpy()), rtol=1e-5, atol=1e-7)


@every_optimizer
def test_the_larger_optimizer_stays_as_it_is(name):
    variables, optimizer = Variables(), OPTIMIZERS[name]()
    variables.train(optimizer)
    before = {key: value.copy() for key, value in state(optimizer).items()}
    sliced = sliced_optimizer(optimizer, variables.slicings)
    sliced.apply_gradients([(tf.ones_like(each), each) for each in variables.small])
    assert_same_state(state(optimizer), before)


@every_optimizer
def test_an_unbuilt_optimizer_gives_an_unbuilt_one(name):
    variables, optimizer = Variables(), OPTIMIZERS[name]()
    optimizer.iterations.assign(7)
    sliced = sliced_optimizer(optimizer, variables.slicings)
    assert sliced.iterations.numpy() == 7
    assert len(state(sliced)) == 1
    sliced.apply_gradients([(tf.ones_like(each), each) for each in variables.small])
    assert sliced.iterations.numpy() == 8


@pytest.mark.parametrize("kind", [new.Adam, old.Adam])
@pytest.mark.parametrize("steps", [0, 3])
def test_an_assigned_learning_rate_stays(kind, steps):
    variables, optimizer = Variables(), kind(0.5)
    variables.train(optimizer, steps)
    keras.backend.set_value(optimizer.learning_rate, 0.1) if steps else setattr(optimizer, "learning_rate", 0.1)
    sliced = sliced_optimizer(optimizer, variables.slicings)
    assert np.float32(sliced.learning_rate) == np.float32(0.1)
    sliced.learning_rate = 0.2
    assert np.float32(optimizer.learning_rate) == np.float32(0.1)


@pytest.mark.parametrize("kind", [new.SGD, old.SGD])
def test_a_schedule_that_keras_cannot_find_is_kept(kind):
    class Unregistered(new.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.1 / (1.0 + tf.cast(step, tf.float32))

        def get_config(self):
            return {"rate": 0.1}

    variables, schedule = Variables(), Unregistered()
    optimizer = kind(schedule)
    variables.train(optimizer)
    sliced = sliced_optimizer(optimizer, variables.slicings)
    source = sliced._learning_rate if kind is new.SGD else sliced._get_hyper("learning_rate")
    assert source is schedule


def test_legacy_callables_and_transformers_are_kept():
    variables, rate = Variables(), [0.1]
    optimizer = old.SGD(lambda: rate[0], gradient_transformers=[lambda pairs: [(2 * g, v) for g, v in pairs]])
    variables.train(optimizer)
    variables.shrink()
    sliced = sliced_optimizer(optimizer, variables.slicings)
    before = variables.small[2].numpy()
    rate[0] = 0.5
    sliced.apply_gradients([(tf.ones_like(each), each) for each in variables.small])
    np.testing.assert_allclose(variables.small[2].numpy(), before - 2 * 0.5, rtol=1e-6)


@pytest.mark.parametrize("steps", [0, 3])
def test_what_is_excluded_from_weight_decay_stays_excluded(steps):
    variables, optimizer = Variables(), new.AdamW(0.1, weight_decay=0.5)
    elsewhere = tf.Variable([1.0], name="elsewhere")
    optimizer.exclude_from_weight_decay([variables.bias, elsewhere], ["scale"])
    variables.train(optimizer, steps)
    sliced = sliced_optimizer(optimizer, variables.slicings)
    kernel, bias, scale = variables.small
    assert [sliced._use_weight_decay(each) for each in (kernel, bias, scale, elsewhere)] == [True, False, False, False]


@pytest.mark.parametrize("kind", [new.SGD, old.SGD])
def test_loss_scale_and_its_counter_stay(kind):
    variables = Variables()
    optimizer = keras.mixed_precision.LossScaleOptimizer(kind(0.1, momentum=0.9), dynamic_growth_steps=2)
    variables.train(optimizer)
    wanted = expected(optimizer.inner_optimizer, variables.slicings)
    sliced = sliced_optimizer(optimizer, variables.slicings)
    assert type(sliced) is type(optimizer)
    # Of three steps two doubled it.
    assert (float(sliced.loss_scale), int(sliced.dynamic_counter)) == (2.0**16, 1)
    assert sliced.dynamic_growth_steps == 2
    assert_same_state(state(sliced.inner_optimizer), wanted)
    sliced.apply_gradients([(tf.fill(each.shape, np.inf), each) for each in variables.small])
    assert (float(sliced.loss_scale), float(optimizer.loss_scale)) == (2.0**15, 2.0**16)


def test_a_fixed_loss_scale_stays():
    optimizer = keras.mixed_precision.LossScaleOptimizer(new.SGD(0.1), dynamic=False, initial_scale=8.0)
    sliced = sliced_optimizer(optimizer, ())
    assert (float(sliced.loss_scale), sliced.dynamic) == (8.0, False)


@pytest.mark.parametrize("name", ["momentum", "amsgrad", "adam_ema", "nadam", "legacy_adam", "legacy_nadam"])
def test_variables_that_are_not_among_the_slicings_keep_their_slots(name):
    variables, optimizer = Variables(), OPTIMIZERS[name]()
    variables.train(optimizer)
    wanted = expected(optimizer, [variables.slicings[1]])
    sliced = sliced_optimizer(optimizer, [variables.slicings[1]])
    # Those that stand for them have names of their own, so that files of the optimizer have no name twice.
    assert len(set(state(sliced))) == len(wanted)
    for given, value in zip(state(sliced).values(), wanted.values(), strict=True):
        np.testing.assert_array_equal(given, value)
    kernel = variables.kernel.numpy()
    sliced.apply_gradients([(tf.ones_like(each), each) for each in (variables.kernel, variables.small[1])])
    assert (variables.kernel.numpy() != kernel).all()
    # The slots that it had have taken the step: no new ones were made.
    assert len(state(sliced)) == len(wanted)


@keras.utils.register_keras_serializable("tests")
class Signal(new.Optimizer):
    """Keeps a number a variable, a table by key, and a count of its own."""

    def __init__(self, rate=0.1, name="Signal", **kwargs):
        super().__init__(name=name, **kwargs)
        self._learning_rate = self._build_learning_rate(rate)
        self.seen = tf.Variable(0.0, trainable=False)

    def build(self, var_list):
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self.total = self.add_variable([], name="total")
        self.sizes = {
            self._var_key(each): self.add_variable_from_reference(model_variable=each, variable_name="size", shape=())
            for each in var_list
        }
        self.memory = [self.add_variable_from_reference(each, "memory") for each in reversed(var_list)]
        self._built = True

    def update_step(self, gradient, variable):
        self.sizes[self._var_key(variable)].assign_add(tf.norm(gradient))
        self.memory[-1 - self._index_dict[self._var_key(variable)]].assign_add(gradient)
        self.total.assign_add(1.0)
        self.seen.assign_add(2.0)

    def get_config(self):
        return {"name": self.name, "rate": self._serialize_hyperparameter(self._learning_rate)}


def test_an_optimizer_of_ones_own():
    variables, optimizer = Variables(), Signal()
    variables.train(optimizer)
    known = [variables.slicings[0], variables.slicings[1]]
    sliced = sliced_optimizer(optimizer, known)
    kernel, bias = variables.small[:2]
    key = optimizer._var_key
    np.testing.assert_array_equal(sliced.sizes[key(kernel)], optimizer.sizes[key(variables.kernel)])
    np.testing.assert_array_equal(sliced.sizes[key(variables.scale)], optimizer.sizes[key(variables.scale)])
    np.testing.assert_array_equal(sliced.memory[2], known[0].of(optimizer.memory[2].numpy()))
    np.testing.assert_array_equal(sliced.memory[0], optimizer.memory[0])
    assert (float(sliced.total), float(sliced.seen)) == (9.0, 18.0)
    sliced.apply_gradients([(tf.ones_like(each), each) for each in (kernel, bias, variables.scale)])
    assert float(sliced.total) == 12.0


def test_hyperparameters_that_the_config_holds_stay():
    optimizer = new.Adam(0.3, beta_1=0.8, clipnorm=0.7, name="Own")
    optimizer.beta_1 = 0.6
    sliced = sliced_optimizer(optimizer, ())
    assert (sliced.beta_1, sliced.clipnorm, sliced.name) == (0.6, 0.7, "Own")


def test_state_across_channels_is_refused():
    variables, optimizer = Variables(), new.Adafactor()
    variables.train(optimizer)
    with pytest.raises(ValueError, match=r"nothing says which .* Received: 'Adafactor/r/kernel:0' of shape \(3,\)"):
        sliced_optimizer(optimizer, variables.slicings)


def test_an_optimizer_inside_another_is_refused():
    optimizer = Signal()
    optimizer.fast = new.SGD()
    with pytest.raises(ValueError, match="inside another .* attribute 'fast'"):
        sliced_optimizer(optimizer, ())


def test_a_changed_layout_is_refused():
    variables, optimizer = Variables(), new.RMSprop()
    variables.train(optimizer)
    optimizer.momentum = 0.9
    with pytest.raises(ValueError, match="its hyperparameters must not .* Received: 4 variables, 7 in the copy"):
        sliced_optimizer(optimizer, variables.slicings)


def test_state_that_the_config_does_not_bring_back_is_refused():
    optimizer = new.SGD()
    optimizer.temperature = tf.Variable(1.0)
    with pytest.raises(ValueError, match="attribute 'temperature'"):
        sliced_optimizer(optimizer, ())


def test_no_optimizer_is_refused():
    with pytest.raises(TypeError, match="An optimizer of tf_keras is needed. Received: str"):
        sliced_optimizer("adam", ())


def own_class(kind: type) -> type:
    """Returns a class of the user's that does what one of Keras does."""
    return type(f"Own{kind.__name__}", (kind,), {"__module__": __name__})


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (keras.optimizers.SGD, {}),
        (keras.optimizers.SGD, {"momentum": 0.9, "use_ema": True}),
        (keras.optimizers.Adam, {"amsgrad": True}),
        (keras.optimizers.RMSprop, {"momentum": 0.9, "centered": True}),
        (keras.optimizers.Ftrl, {}),
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_slots_are_found_alike_in_the_lists_of_keras_and_by_a_copy(kind, options, count):
    """The lists are those of Keras's own classes; what a subclass keeps, only a copy of it tells."""
    variables = [tf.Variable(tf.ones((size, 2))) for size in range(2, 2 + count)]
    names = []
    for each in (kind, own_class(kind)):
        optimizer = each(**options)
        optimizer.build(variables)
        found = slots_of(optimizer, [*variables[::-1], tf.Variable(0.0)])
        places = {id(slot): place for place, slot in enumerate(optimizer.variables)}
        names.append([[places[id(slot)] for slot in found[id(variable)]] for variable in variables])
        assert all(slot.shape == variable.shape for variable in variables for slot in found[id(variable)])
    assert names[0] == names[1]
    assert sum(map(len, names[0])) == len(optimizer.variables) - 1
