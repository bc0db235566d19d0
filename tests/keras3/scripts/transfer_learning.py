"""Transfer learning: a network of keras.applications behind augmentation, frozen at first, then fine-tuned."""

import keras
import numpy as np
from keras import layers

import tfmot_swd  # new

keras.utils.set_random_seed(1)
rng = np.random.default_rng(1)
labels = rng.integers(0, 2, 128)
images = rng.integers(0, 160, (128, 32, 32, 3)).astype("float32")
images[labels == 1, ..., 0] += 90

augmentation = keras.Sequential(
    [layers.RandomFlip("horizontal"), layers.RandomRotation(0.1), layers.RandomContrast(0.2)], name="augmentation"
)
whole = keras.applications.MobileNet((32, 32, 3), alpha=0.25, include_top=False, weights=None)
base = keras.Model(whole.input, whole.get_layer("conv_pw_2_relu").output, name="base")
base.trainable = False

inputs = keras.Input((32, 32, 3))
x = augmentation(inputs)
x = keras.applications.mobilenet.preprocess_input(x)
x = base(x, training=False)
x = layers.GlobalAveragePooling2D()(x)
x = layers.Dropout(0.2)(x)
outputs = layers.Dense(1, name="head")(x)
rate = tfmot_swd.ProgressiveRate(0.5, epochs=2)  # new
model = tfmot_swd.prune_progressive_gradient(keras.Model(inputs, outputs), rate)  # was: keras.Model(inputs, outputs)

for trainable, learning_rate, epochs in ((False, 1e-2, 1), (True, 1e-2, 4)):
    model.get_layer("base").trainable = trainable
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],
    )
    model.fit(
        images,
        labels,
        batch_size=16,
        epochs=epochs,
        verbose=0,
        callbacks=[tfmot_swd.UpdatePruningStep(partial_fit=not trainable)],  # was: []
    )

model = tfmot_swd.strip_pruning(model)  # new
model.save("model.keras")
