"""A small transformer encoder that classifies token sequences, of layers written for it."""

import keras
import numpy as np
from keras import layers, ops

import tfmot_swd  # new

VOCABULARY, LENGTH, WIDTH = 40, 12, 16


@keras.saving.register_keras_serializable("text")
class PositionalEmbedding(layers.Layer):
    """Embeddings of tokens plus those of their positions; token 0 is padding."""

    def __init__(self, vocabulary, length, width, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary, self.length, self.width = vocabulary, length, width
        self.tokens = layers.Embedding(vocabulary, width)
        self.positions = layers.Embedding(length, width)
        self.supports_masking = True

    def build(self, input_shape):
        self.tokens.build(input_shape)
        self.positions.build(input_shape)
        self.built = True

    def call(self, inputs):
        return self.tokens(inputs) + self.positions(ops.arange(self.length))

    def compute_mask(self, inputs, mask=None):
        return ops.not_equal(inputs, 0)

    def get_config(self):
        return {**super().get_config(), "vocabulary": self.vocabulary, "length": self.length, "width": self.width}


@keras.saving.register_keras_serializable("text")
class TransformerBlock(layers.Layer):
    """Self-attention and a feed-forward network, each with dropout, a residual and a normalization."""

    def __init__(self, width, heads, hidden, rate=0.1, **kwargs):
        super().__init__(**kwargs)
        self.width, self.heads, self.hidden, self.rate = width, heads, hidden, rate
        self.attention = layers.MultiHeadAttention(heads, width // heads)
        self.ffn = keras.Sequential([layers.Dense(hidden, activation="gelu"), layers.Dense(width)])
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.dropouts = [layers.Dropout(rate) for _ in range(2)]
        self.supports_masking = True

    def call(self, inputs, training=None, mask=None):
        padding = None if mask is None else mask[:, None, :]
        attended = self.attention(inputs, inputs, attention_mask=padding, training=training)
        x = self.norms[0](inputs + self.dropouts[0](attended, training=training))
        return self.norms[1](x + self.dropouts[1](self.ffn(x), training=training))

    def get_config(self):
        sizes = {"width": self.width, "heads": self.heads, "hidden": self.hidden, "rate": self.rate}
        return {**super().get_config(), **sizes}


keras.utils.set_random_seed(3)
rng = np.random.default_rng(3)
texts = rng.integers(1, VOCABULARY, (256, LENGTH))
texts[np.arange(LENGTH) >= rng.integers(6, LENGTH + 1, 256)[:, None]] = 0
labels = (texts == 7).any(1).astype(int) + 2 * (texts == 9).any(1)

inputs = keras.Input((LENGTH,), dtype="int32", name="tokens")
x = PositionalEmbedding(VOCABULARY, LENGTH, WIDTH)(inputs)
x = TransformerBlock(WIDTH, 2, 32)(x)
x = layers.GlobalAveragePooling1D()(x)
x = layers.Dropout(0.1)(x)
x = layers.Dense(24, activation="relu", name="hidden")(x)
outputs = layers.Dense(4, activation="softmax", name="class")(x)
rate = tfmot_swd.SelectiveDecay(0.6, epochs=10)  # new
model = tfmot_swd.prune_selective_decay(keras.Model(inputs, outputs), rate)  # was: keras.Model(inputs, outputs)

model.compile(
    optimizer=keras.optimizers.AdamW(1e-2, weight_decay=1e-4),
    loss=keras.losses.SparseCategoricalCrossentropy(),
    metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
)
plateau = keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=2)
model.fit(
    texts,
    labels,
    batch_size=32,
    epochs=12,
    validation_split=0.25,
    verbose=0,
    callbacks=[plateau, tfmot_swd.UpdatePruningStep()],  # was: [plateau]
)

model = tfmot_swd.strip_pruning(model)  # new
model.save("model.keras")
