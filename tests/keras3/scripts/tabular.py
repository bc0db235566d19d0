"""A tabular classifier: columns of numbers, words and codes, each with its preprocessing, from a tf.data set."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import tfmot_swd  # new

keras.utils.set_random_seed(2)
rng = np.random.default_rng(2)
rows = 512
columns = {
    "age": rng.integers(18, 80, rows).astype("float32"),
    "income": rng.lognormal(3.0, 0.5, rows).astype("float32"),
    "city": rng.choice(["rome", "oslo", "lima", "cairo"], rows),
    "plan": rng.integers(1, 4, rows),
    "weekday": rng.integers(0, 7, rows),
}
churned = ((columns["age"] < 40) & (columns["plan"] == 1) | (columns["city"] == "lima")).astype("float32")
dataset = tf.data.Dataset.from_tensor_slices((columns, churned)).shuffle(rows, seed=2).batch(32)

inputs, encoded = {}, []
for name in ("age", "income"):
    inputs[name] = keras.Input((1,), name=name)
    scaled = layers.Normalization(name=f"{name}_scaled")
    scaled.adapt(columns[name][:, None])
    encoded.append(scaled(inputs[name]))

inputs["city"] = keras.Input((1,), name="city", dtype="string")
lookup = layers.StringLookup(name="city_index")
lookup.adapt(columns["city"])
city = layers.Embedding(lookup.vocabulary_size(), 4, name="city_embedding")(lookup(inputs["city"]))
encoded.append(layers.Flatten()(city))

inputs["plan"] = keras.Input((1,), name="plan", dtype="int64")
lookup = layers.IntegerLookup(vocabulary=[1, 2, 3], name="plan_index")
encoded.append(layers.CategoryEncoding(lookup.vocabulary_size(), output_mode="one_hot")(lookup(inputs["plan"])))

inputs["weekday"] = keras.Input((1,), name="weekday", dtype="int64")
encoded.append(layers.Flatten()(layers.Embedding(7, 3, name="weekday_embedding")(inputs["weekday"])))

x = layers.Concatenate(name="features")(encoded)
x = layers.Dense(64, activation="relu")(x)
x = layers.Dropout(0.1)(x)
x = layers.Dense(32, activation="relu")(x)
outputs = layers.Dense(1, activation="sigmoid", name="churned")(x)
rate = tfmot_swd.StructuredDecay(tfmot_swd.Budget(macs=0.5), epochs=6)  # new
model = tfmot_swd.prune_selective_decay(keras.Model(inputs, outputs), rate)  # was: keras.Model(inputs, outputs)

model.compile(
    optimizer=keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(5e-3, 16, 0.9)),
    loss="binary_crossentropy",
    metrics=["accuracy", keras.metrics.AUC(name="auc")],
)
stop = keras.callbacks.EarlyStopping(monitor="val_auc", mode="max", patience=6)
model.fit(
    dataset,
    epochs=6,
    validation_data=dataset,
    verbose=0,
    callbacks=[stop, tfmot_swd.UpdatePruningStep()],  # was: [stop]
)

model = tfmot_swd.strip_pruning(model)  # new
model.save("model.keras")
