"""One wrapped layer: its variables, its contract with Keras and TFMOT, and what it refuses."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_wrapper import PruneLowMagnitude

from tfmot_swd import SelectiveDecay, UpdatePruningStep, prune_selective_decay
from tfmot_swd.pruning.wrapped_models import collect_wrappers
from tfmot_swd.swd import PruneSelectiveDecay
from tfmot_swd.swd.weight_pool import WeightPool

L = keras.layers
SCHEDULE = SelectiveDecay(final_sparsity=0.5, end_step=4)
COUPLED = SelectiveDecay.paper(0.5, end_step=4, mu=0.01, a_min=1.0, a_max=1.0)
X = np.ones((4, 3), np.float32)
Y = np.zeros((4, 2), np.float32)


def model(*layers, schedule=SCHEDULE) -> keras.Model:
    net = keras.Sequential([L.Dense(2, input_shape=(3,), name="dense"), *layers])
    return prune_selective_decay(net, schedule)


def train(pruned, callbacks=None, **options) -> None:
    callbacks = [UpdatePruningStep(partial_fit=True)] if callbacks is None else callbacks
    pruned.fit(X, Y, batch_size=2, verbose=0, callbacks=callbacks, **options)


def test_variables_of_a_fresh_wrapper():
    (wrapper,) = collect_wrappers(model(), PruneSelectiveDecay)

    own = {
        variable.name.split("/")[-1]: (variable.dtype, variable.shape.as_list(), variable.numpy().tolist())
        for variable in wrapper.non_trainable_weights
    }
    assert own == {
        "mask:0": (tf.float32, [3, 2], [[1, 1]] * 3),
        "mask_1:0": (tf.float32, [2], [1, 1]),
        "threshold:0": (tf.float32, [], 0.0),
        "pruning_step:0": (tf.int64, [], 0),
        "last_iterations:0": (tf.int64, [], -1),
        "cut:0": (tf.bool, [], False),
    }
    assert [weight.name for weight in wrapper.trainable_weights] == [weight.name for weight in wrapper.layer.weights]


def test_it_is_a_tfmot_wrapper():
    (wrapper,) = collect_wrappers(model(), PruneSelectiveDecay)

    assert isinstance(wrapper, PruneLowMagnitude)
    assert wrapper.name == wrapper.layer.name == "dense"
    assert [len(variables) for variables in wrapper.pruning_vars] == [3, 3]
    assert wrapper.counted == 2


def test_with_targets_all_only_the_kernel_of_a_convolution_counts():
    net = keras.Sequential([L.Conv2D(2, 3, input_shape=(5, 5, 1)), L.BatchNormalization()])
    conv, norm = collect_wrappers(prune_selective_decay(net, COUPLED), PruneSelectiveDecay)

    assert ([len(conv.prunable_weights), conv.counted], [len(norm.prunable_weights), norm.counted]) == (
        [2, 1],
        [2, 0],
    )


def test_config_survives_json_without_custom_objects():
    (wrapper,) = collect_wrappers(model(), PruneSelectiveDecay)
    config = json.loads(json.dumps(keras.layers.serialize(wrapper)))
    again = keras.layers.deserialize(config)

    assert type(again) is PruneSelectiveDecay
    assert again.pruning_schedule == SCHEDULE
    assert (again.name, again.layer.units) == (wrapper.name, 2)
    assert again.get_config() == wrapper.get_config()


@pytest.mark.parametrize("schedule", [None, tfmot.sparsity.keras.ConstantSparsity(0.5, 0)])
def test_another_schedule_is_refused(schedule):
    with pytest.raises(TypeError, match=rf"SelectiveDecay schedule.*Received: {type(schedule).__name__}"):
        PruneSelectiveDecay(L.Dense(2), schedule)


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("callbacks", [[], [tfmot.sparsity.keras.UpdatePruningStep()]], ids=["none", "tfmots"])
def test_training_without_our_callback_says_what_to_do(callbacks, eager):
    pruned = model()
    pruned.compile("sgd", "mse", run_eagerly=eager)

    message = r"callbacks=\[tfmot_swd\.UpdatePruningStep\(\)\] .*TFMOT's own UpdatePruningStep does not.*Received: "
    with pytest.raises(ValueError, match=message):
        train(pruned, callbacks)


def test_a_custom_loop_without_the_callback_says_what_to_do():
    with pytest.raises(ValueError, match="call its set_model and on_train_begin before a custom training loop"):
        model()(X, training=True)


def test_inference_needs_no_callback_and_writes_nothing():
    pruned = model()
    before = [variable.numpy() for variable in pruned.variables]
    pruned.compile("sgd", "mse")
    pruned.predict(X, verbose=0)
    pruned.evaluate(X, Y, verbose=0)
    pruned(X, training=False)

    for old, variable in zip(before, pruned.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


def test_training_false_given_as_a_tensor_writes_nothing():
    pruned = model()
    pruned.compile("sgd", "mse")
    callback = UpdatePruningStep(partial_fit=True)
    callback.set_model(pruned)
    callback.on_train_begin()
    call = tf.function(lambda training: pruned(X, training=training))

    call(tf.constant(False))
    assert int(pruned.layers[0].pruning_step) == 0
    call(tf.constant(True))
    assert int(pruned.layers[0].pruning_step) == 1


def test_the_inner_layer_keeps_its_own_precision_policy():
    net = keras.Sequential(
        [L.Dense(2, input_shape=(3,), dtype="mixed_float16"), L.Dense(2, dtype="float32", name="head")]
    )
    first, head = collect_wrappers(prune_selective_decay(net, SCHEDULE), PruneSelectiveDecay)

    assert (first(X).dtype, head(first(X)).dtype) == (tf.float16, tf.float32)
    assert [weight.dtype for weight in first.prunable_weights] == [tf.float32, tf.float32]
    assert not first.pruning_vars[0][1].dtype.is_compatible_with(tf.float16)


def test_losses_of_the_inner_layer_are_kept():
    net = keras.Sequential(
        [
            L.Dense(
                2,
                input_shape=(3,),
                kernel_initializer="ones",
                kernel_regularizer=keras.regularizers.L2(0.5),
            )
        ]
    )
    pruned = prune_selective_decay(net, SCHEDULE)

    # 0.5 · the squares of six ones.
    assert [float(loss) for loss in pruned.losses] == [3.0]


def test_the_penalty_is_zero_outside_training():
    pruned = model(schedule=COUPLED)
    pruned.compile(keras.optimizers.SGD(0.0), "mse")
    WeightPool.of(pruned).join(pruned.optimizer)
    pruned(X, training=True)
    assert float(sum(pruned.losses)) > 0

    pruned(X, training=False)
    assert float(sum(pruned.losses)) == 0.0


def test_the_penalty_is_among_the_losses_of_the_layer_itself():
    """TFMOT's wrapper forgets the losses that are callables; a custom loop may ask layer by layer."""
    pruned = model(schedule=COUPLED)
    pruned.compile(keras.optimizers.SGD(0.0), "mse")
    WeightPool.of(pruned).join(pruned.optimizer)
    pruned(X, training=True)

    assert [float(loss) for loss in pruned.layers[0].losses] == [float(loss) for loss in pruned.losses]
    assert float(pruned.layers[0].losses[0]) > 0


def test_joining_twice_adds_one_penalty():
    pruned = model(schedule=COUPLED)
    pruned.compile(keras.optimizers.SGD(0.0), "mse")
    WeightPool.of(pruned).join(pruned.optimizer)
    pruned(X, training=True)
    once = float(sum(pruned.losses))
    WeightPool.of(pruned).join(pruned.optimizer)
    pruned(X, training=True)

    # The clock moved by one step, but `a` is constant here.
    assert float(sum(pruned.losses)) == pytest.approx(once)


def test_a_model_recompiled_from_sgd_to_adam_loses_its_coupled_penalty():
    schedule = SelectiveDecay(0.5, 100, penalty="auto", mu=1.0, a_min=1.0, a_max=1.0, ramp=0.0)
    pruned = model(schedule=schedule)
    pruned.compile(keras.optimizers.SGD(0.0), "mse")
    train(pruned)
    pruned(X, training=False)
    pruned.compile(keras.optimizers.Adam(0.0), "mse")
    WeightPool.of(pruned).join(pruned.optimizer)
    pruned(X, training=True)

    assert float(sum(pruned.losses)) == 0.0


def test_a_layer_frozen_after_wrapping_is_left_alone():
    pruned = model(L.Dense(2, name="head"))
    first, head = collect_wrappers(pruned, PruneSelectiveDecay)
    first.trainable = False
    before = first.layer.get_weights()
    pruned.compile(keras.optimizers.SGD(0.1), "mse")
    train(pruned, [UpdatePruningStep()], epochs=2)

    for old, new in zip(before, first.layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    # Its own pool now: 4 kernel weights and 2 biases, of which 3 go.
    assert sum(int((weight == 0).sum()) for weight in head.layer.get_weights()) == 3


def test_all_layers_frozen_after_wrapping_is_an_error():
    pruned = model()
    pruned.layers[0].trainable = False
    pruned.compile("sgd", "mse")

    # With partial_fit=True it is the first phase of a training that unfreezes them.
    with pytest.raises(ValueError, match=r"set layer\.trainable = True.*Received: 1 wrapped layers, all frozen"):
        train(pruned, [UpdatePruningStep()])


def test_collect_wrappers_follows_nested_models_and_lists_a_shared_layer_once():
    inner = keras.Sequential([L.Dense(3, input_shape=(3,), name="inside")])
    inputs = keras.Input((3,))
    shared = L.Dense(3, name="shared")
    net = keras.Model(inputs, shared(inner(shared(inner(inputs)))))
    found = collect_wrappers(prune_selective_decay(net, SCHEDULE), PruneSelectiveDecay)

    assert sorted(wrapper.layer.name for wrapper in found) == ["inside", "shared"]


def test_the_first_wrapper_called_leads_whatever_the_order_of_construction():
    """The pool works before any forward pass, so its leader must be called before the others."""
    first_input, second_input = keras.Input((3,)), keras.Input((3,))
    short = L.Dense(2, name="short")(first_input)
    long = L.Dense(2, name="deep2")(L.Dense(2, name="deep1")(second_input))
    pruned = prune_selective_decay(keras.Model([first_input, second_input], L.Add()([short, long])), SCHEDULE)
    wrappers = collect_wrappers(pruned, PruneSelectiveDecay)
    called = []
    for wrapper in wrappers:
        wrapper._before_call = lambda training, name=wrapper.layer.name: called.append(name)
    pruned([X, X])

    assert called == [wrapper.layer.name for wrapper in wrappers]
    assert called[0] == WeightPool.of(pruned).leader.layer.name
