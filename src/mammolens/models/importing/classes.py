"""Classes that Keras has ever offered as layers, and those of them that do nothing at inference."""

from __future__ import annotations

_IDLE = (
    "ActivityRegularization AlphaDropout AugMix CutMix Dropout GaussianDropout GaussianNoise Identity MixUp "
    "RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomElasticTransform "
    "RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHeight RandomHue RandomInvert "
    "RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear "
    "RandomTranslation RandomWidth RandomZoom Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D"
)

TRAINING_ONLY = frozenset(_IDLE.split())
"""Keras' own layers that give back what they are given, unless the model is being trained."""

ELSEWHERE_TRAINING_ONLY = frozenset(("FixedDropout",))
"""Layers of other packages that are known to do the same: the dropout of the package ``efficientnet``."""

ALIASES = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "Convolution2D": "Conv2D",
    "DepthwiseConvolution2D": "DepthwiseConv2D",
    "GlobalAvgPool2D": "GlobalAveragePooling2D",
    "GlobalMaxPool2D": "GlobalMaxPooling2D",
}
"""Other names of classes, by which a file may call them."""

_OTHERS = (
    "AbstractRNNCell Activation AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D "
    "AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add AdditiveAttention AtrousConvolution2D "
    "Attention AutoContrast Average AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D "
    "BaseRandomLayer BatchNormalization Bidirectional CategoryEncoding CenterCrop Concatenate "
    "ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose "
    "ConvLSTM1D ConvLSTM2D ConvLSTM3D Convolution1D Convolution3D Cropping1D Cropping2D Cropping3D CuDNNGRU CuDNNLSTM "
    "Deconvolution2D Dense DenseFeatures DepthwiseConv1D DepthwiseConv2D Discretization Dot ELU EinsumDense Embedding "
    "Equalization Flatten FlaxLayer GRU GRUCell GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D "
    "GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization GroupedQueryAttention HashedCrossing "
    "Hashing Highway Input InputLayer InputSpec IntegerLookup JaxLayer LSTM LSTMCell Lambda Layer LayerNormalization "
    "LeakyReLU LocallyConnected1D LocallyConnected2D Masking MaxNumBoundingBoxes MaxPool1D MaxPool2D MaxPool3D "
    "MaxPooling1D MaxPooling2D MaxPooling3D Maximum MaxoutDense MelSpectrogram Merge Minimum MultiHeadAttention "
    "Multiply Normalization PReLU Permute Pipeline PreprocessingLayer RMSNormalization RNN RandomCrop "
    "RandomFourierFeatures ReLU RepeatVector Rescaling Reshape Resizing ReversibleEmbedding STFTSpectrogram "
    "SeparableConv1D SeparableConv2D SeparableConvolution1D SeparableConvolution2D SimpleRNN SimpleRNNCell "
    "SlicingOpLambda Softmax SpectralNormalization StackedRNNCells StringLookup Subtract TFOpLambda TFSMLayer "
    "TensorFlowOpLayer TextVectorization ThresholdedReLU TimeDistributed TorchModuleWrapper UnitNormalization "
    "UpSampling1D UpSampling2D UpSampling3D Wrapper ZeroPadding1D ZeroPadding2D ZeroPadding3D"
)

KERAS = TRAINING_ONLY | ALIASES.keys() | frozenset(_OTHERS.split())
"""Every layer class of Keras 1 to 3."""

_TELLING = (
    "preproc scal norm standardi clahe equali histogram gray grey resiz crop lambda channel wavelet filter threshold "
    "window denois clip invert pool attention activ gate"
)

TELLING = tuple(_TELLING.split())
"""Parts of names of classes that change what they are given at inference too."""
