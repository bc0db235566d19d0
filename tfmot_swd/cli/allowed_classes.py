"""Allowlist of classes and functions in model files: their behaviour when made from a config is known.

Left out on purpose: `Lambda` and the wrappers of recurrent cells that hold bytecode or name functions of any module;
`TensorFlowOpLayer`, which runs any operation on constants; feature columns, which read vocabularies from files.
"""

from __future__ import annotations

_LAYERS = (
    "Activation ActivityRegularization Add AddLoss AddMetric AdditiveAttention AlphaDropout Attention Average "
    "AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D BatchNormalization "
    "BatchNormalizationV1 BatchNormalizationV2 Bidirectional CategoryEncoding CenterCrop ClassMethod Concatenate "
    "Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D "
    "Convolution1D Convolution1DTranspose Convolution2D Convolution2DTranspose Convolution3D Convolution3DTranspose "
    "Cropping1D Cropping2D Cropping3D CuDNNGRU CuDNNLSTM Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot "
    "Dropout ELU EinsumDense Embedding Flatten Functional GRU GRUCell GRUCellV1 GRUCellV2 GRUV1 GRUV2 "
    "GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D "
    "GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D "
    "GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization HashedCrossing Hashing Identity "
    "InputLayer InstanceMethod InstanceProperty IntegerLookup LSTM LSTMCell LSTMCellV1 LSTMCellV2 LSTMV1 LSTMV2 "
    "LayerNormalization LayerScale LeakyReLU LocallyConnected1D LocallyConnected2D Masking MaxPool1D MaxPool2D "
    "MaxPool3D MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum Model MultiHeadAttention Multiply "
    "Normalization PReLU Permute RNN RandomBrightness RandomContrast RandomCrop RandomFlip RandomHeight "
    "RandomRotation RandomTranslation RandomWidth RandomZoom ReLU RepeatVector Rescaling Reshape Resizing "
    "SeparableConv1D SeparableConv2D SeparableConvolution1D SeparableConvolution2D Sequential SimpleRNN "
    "SimpleRNNCell SlicingOpLambda Softmax SpatialDropout1D SpatialDropout2D SpatialDropout3D StackedRNNCells "
    "StochasticDepth StringLookup Subtract SyncBatchNormalization TFOpLambda TextVectorization ThresholdedReLU "
    "TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D "
    "ZeroPadding3D"
)
_PARTS = (
    "Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones Orthogonal "
    "RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros L1 L1L2 L2 OrthogonalRegularizer MaxNorm "
    "InputSpec MinMaxNorm NonNeg RadialConstraint UnitNorm Policy PolicyV1"
)
# Functions, and short names of initializers and regularizers as older files have them.
_FUNCTIONS = (
    "elu exponential gelu hard_sigmoid leaky_relu linear mish relu relu6 selu sigmoid silu softmax softplus "
    "softsign swish tanh normal one uniform zero l1 l1_l2 l2 orthogonal_regularizer max_norm min_max_norm non_neg "
    "radial_constraint unit_norm"
)
# Losses and metrics, which a SavedModel holds though they are not loaded to be used.
_METRICS = (
    "AUC Accuracy BinaryAccuracy BinaryCrossentropy BinaryIoU CategoricalAccuracy CategoricalCrossentropy "
    "CategoricalHinge CosineSimilarity F1Score FBetaScore FalseNegatives FalsePositives Hinge IoU KLDivergence "
    "LogCoshError Mean MeanAbsoluteError MeanAbsolutePercentageError MeanIoU MeanMetricWrapper MeanRelativeError "
    "MeanSquaredError MeanSquaredLogarithmicError MeanTensor OneHotIoU OneHotMeanIoU Poisson Precision "
    "PrecisionAtRecall R2Score Recall RecallAtPrecision RootMeanSquaredError SensitivityAtSpecificity "
    "SparseCategoricalAccuracy SparseCategoricalCrossentropy SparseTopKCategoricalAccuracy SpecificityAtSensitivity "
    "SquaredHinge Sum TopKCategoricalAccuracy TrueNegatives TruePositives"
)
# How networks inside a network were compiled, which Keras restores.
_TRAINING = (
    "Adadelta Adafactor Adagrad Adam AdamW Adamax BinaryFocalCrossentropy CTC CategoricalFocalCrossentropy "
    "CosineDecay CosineDecayRestarts ExponentialDecay Ftrl Huber InverseTimeDecay KLDivergence Lion LogCosh "
    "LossScaleOptimizer LossScaleOptimizerV3 Nadam PiecewiseConstantDecay RMSprop SGD SharpnessAwareMinimization "
    "binary_accuracy binary_crossentropy binary_focal_crossentropy categorical_accuracy categorical_crossentropy "
    "categorical_focal_crossentropy categorical_hinge cosine_similarity hinge huber kl_divergence log_cosh "
    "mean_absolute_error mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error poisson "
    "sparse_categorical_accuracy sparse_categorical_crossentropy sparse_top_k_categorical_accuracy squared_hinge "
    "top_k_categorical_accuracy"
)
_TFMOT = (
    "AllValuesQuantizer CentroidInitialization ClusterWeights ConstantSparsity Default8BitActivationQuantizeConfig "
    "Default8BitConvQuantizeConfig Default8BitConvTransposeQuantizeConfig Default8BitConvTransposeWeightsQuantizer "
    "Default8BitConvWeightsQuantizer Default8BitOutputQuantizeConfig Default8BitQuantizeConfig "
    "Default8BitQuantizeConfigRNN DefaultNBitActivationQuantizeConfig DefaultNBitConvQuantizeConfig "
    "DefaultNBitConvTransposeQuantizeConfig DefaultNBitConvTransposeWeightsQuantizer "
    "DefaultNBitConvWeightsQuantizer DefaultNBitOutputQuantizeConfig DefaultNBitQuantizeConfig "
    "DefaultNBitQuantizeConfigRNN FixedQuantizeConfig FixedQuantizer LastValueQuantizer MovingAverageQuantizer "
    "NoOpActivation NoOpQuantizeConfig NoQuantizer OutputOnlyConfig PolynomialDecay PruneLowMagnitude "
    "QuantizeAnnotate QuantizeAwareActivation QuantizeLayer QuantizeWrapper QuantizeWrapperV2"
)
# Values that are no objects of Keras.
_VALUES = "CompositeTensor TensorShape TypeSpec __bytes__ __ellipsis__ __numpy__ __tensor__ __tuple__ slice"

FUNCTIONS = frozenset((*_FUNCTIONS.split(), *_TRAINING.split()))
CLASSES = frozenset(f"{_LAYERS} {_PARTS} {_METRICS} {_TRAINING} {_TFMOT}".split())
VALUES = frozenset(_VALUES.split())
# What layers that stand for methods and properties may call: those of ragged tensors.
_METHODS = (
    "bounding_shape dense_shape dtype flat_values from_nested_row_lengths from_nested_row_splits "
    "from_nested_value_rowids from_row_lengths from_row_limits from_row_splits from_row_starts from_sparse "
    "from_tensor from_uniform_row_length from_value_rowids get_shape indices merge_dims nested_row_lengths "
    "nested_row_splits nested_value_rowids nrows ragged_rank row_lengths row_limits row_splits row_starts shape "
    "to_sparse to_tensor uniform_row_length value_rowids values with_flat_values with_row_splits_dtype with_values"
)
METHODS = frozenset(_METHODS.split())
# Where Keras and TFMOT are, as files name it, whatever version of them wrote the file.
PACKAGES = frozenset({"keras", "tf_keras", "tensorflow_model_optimization"})
# Packages in Keras that files name, or name with a `src` before them.
_MODULES = (
    "activations applications constraints engine initializers layers losses metrics mixed_precision models "
    "optimizers regularizers"
)
KERAS_MODULES = frozenset(_MODULES.split())
# Specifications of inputs, by the last part of how they are registered.
TYPE_SPECS = frozenset({"RaggedTensorSpec", "SparseTensorSpec", "TensorSpec"})
