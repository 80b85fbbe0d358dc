"""The ordered list of passes, with the reason for each place in the order."""

from __future__ import annotations

from attnc.compiler.pipeline import Pass
from attnc.passes.canonical.attention_op import CanonicalAttention
from attnc.passes.canonical.batch_norm import FoldBatchNorm
from attnc.passes.canonical.batch_second import CanonicalBatchSecond
from attnc.passes.canonical.conv import CanonicalConv
from attnc.passes.canonical.conv_scale import FoldConvScale
from attnc.passes.canonical.einsum import CanonicalEinsum
from attnc.passes.canonical.gelu import CanonicalGelu
from attnc.passes.canonical.group_norm import CanonicalGroupNorm
from attnc.passes.canonical.layer_norm import CanonicalLayerNorm
from attnc.passes.canonical.linear import CanonicalLinear
from attnc.passes.canonical.opset import SettleOpset
from attnc.passes.canonical.pool import CanonicalGlobalPool, CanonicalPooledVector
from attnc.passes.canonical.pooled_batch_norm import FoldPooledBatchNorm
from attnc.passes.canonical.pooled_gate import CanonicalPooledGate
from attnc.passes.canonical.sequence import CanonicalSequence
from attnc.passes.canonical.sink_transposes import SinkTransposes
from attnc.passes.canonical.token_maps import CanonicalTokenMaps
from attnc.passes.clean.constants import ConstantsToInitializers
from attnc.passes.clean.dead import DeadCode
from attnc.passes.clean.duplicates import MergeDuplicates
from attnc.passes.clean.fold import FoldConstants
from attnc.passes.clean.identity import RemoveIdentity
from attnc.passes.clean.infer import InferShapes
from attnc.passes.clean.repeat import Repeat
from attnc.passes.clean.shapes import FoldShapes
from attnc.passes.demand.rows import NarrowRows
from attnc.passes.demand.selection import SelectBeforeAttention
from attnc.passes.fuse.attention import FuseAttention
from attnc.passes.fuse.conv import FuseConv, FuseConvAdd, FuseConvGelu
from attnc.passes.fuse.feed_forward import fuse_feed_forward
from attnc.passes.fuse.grid_pool import FuseGridPool
from attnc.passes.fuse.inverted_bottleneck import fuse_inverted_bottleneck
from attnc.passes.fuse.linear import FuseLinear
from attnc.passes.fuse.linear_add import FuseLinearAdd
from attnc.passes.fuse.linear_gelu import FuseLinearGelu
from attnc.passes.fuse.linear_scale import FoldLinearScale
from attnc.passes.fuse.lone_batch_norm import FuseLoneBatchNorm
from attnc.passes.fuse.mlp import FuseMlp
from attnc.passes.fuse.norm_linear import FuseNormLinear
from attnc.passes.fuse.pool_linear import fuse_pool_linear
from attnc.passes.fuse.residual_depthwise import fold_residual_depthwise
from attnc.passes.fuse.select_tokens import FuseSelectTokens
from attnc.passes.fuse.single_head_attention import FuseSingleHeadAttention
from attnc.passes.fuse.slot_dispatch_add import FuseSlotDispatchAdd
from attnc.passes.fuse.slots import FuseSlots
from attnc.passes.fuse.squeeze_excite import fuse_squeeze_excite
from attnc.passes.fuse.window_attention import FuseWindowAttention
from attnc.passes.sparse.sparse_attention import FuseSparseAttention


def clean() -> list[Pass]:
    """Removes what does nothing; afterwards constants are initializers and shapes are known."""
    return [
        ConstantsToInitializers(),  # first: every question about constants looks there
        DeadCode(),  # less to look at for all that follow
        SettleOpset(),  # older opsets: axes become inputs, as all that follows expects
        FoldConstants(),  # constants in front of shape arithmetic
        InferShapes(),  # sizes, for folding shape arithmetic
        FoldShapes(),  # Reshape targets become constants
        RemoveIdentity(),  # casts between constants and their users
        Repeat([FoldConstants(), InferShapes(), FoldShapes(), RemoveIdentity()]),  # to the end
        MergeDuplicates(),  # after folding, when equal things look equal
        DeadCode(),  # what the others left without a reader
    ]


def canonical() -> list[Pass]:
    """Brings each idea to one form."""
    return [
        CanonicalSequence(),  # sequences hide everything behind them
        CanonicalConv(),  # before BatchNorm, which folds into canonical convolutions
        CanonicalLinear(),  # likewise
        FoldBatchNorm(),  # before all fusions: they end at a normalisation
        FoldConvScale(),  # likewise at a layer scale
        CanonicalEinsum(),  # products are MatMuls from here on
        CanonicalAttention(),  # one spelling of attention, whatever the opset
        CanonicalGroupNorm(),  # one spelling for the attention's pattern
        CanonicalLayerNorm(),  # linear layers take it up as one node
        CanonicalGelu(),  # likewise
        CanonicalGlobalPool(),  # one spelling for gates and heads
        CanonicalPooledVector(),  # after the pooling has its form
        FoldPooledBatchNorm(),  # likewise
        CanonicalPooledGate(),  # after the vector has its form
        InferShapes(),  # canonical nodes between others have no shapes yet
    ]


def fuse() -> list[Pass]:
    """Replaces patterns by semantic operators, blocks before layers."""
    return [
        fold_residual_depthwise(),  # before Conv + Add takes the residual
        FuseWindowAttention(),  # before anything takes the residual or a projection
        FuseSparseAttention(),  # whole, before the linear layers inside are fused on their own
        FuseSingleHeadAttention(),  # blocks first: layers inside them are then gone
        FuseSelectTokens(),  # before attention, whose weights it would be a second reader of
        *batch_first(),  # Transposes would stand between attention and its layers
        FuseAttention(),  # before the layers around it: it may reorder their weights
        Repeat(batch_first(), "repeat_batch_first", "behind attention there are as many"),
        fuse_feed_forward(),  # likewise
        fuse_squeeze_excite(),  # the inverted bottleneck holds one
        fuse_inverted_bottleneck(),  # before its convolutions are fused one by one
        fuse_pool_linear(),  # the head
        FuseGridPool(),  # GLMix's first slots, from the map
        FuseSlots(),  # before its products look like linear layers
        *channels_last(),  # after SHViT's mixer is gone, whose tokens need no such form
        FuseSlotDispatchAdd(),  # leaves one of two adds to the convolution
        FuseConvAdd(),  # residuals that no block took
        FuseLoneBatchNorm(),  # after the residuals, which a depthwise layer does not take
        FuseConvGelu(),  # before the convolution is fused without it
        FuseConv(),  # last: every convolution that is left
        *tokens(),  # after the head: PoolLinear takes a Gemm
        MergeDuplicates(),  # equal packings of q, k, v and equal choices of rows
        *demand(),  # on whole operators, which say what they read
        MergeDuplicates(),  # equal constants that the passes made, as zero biases
        DeadCode(),  # constants of what was replaced
        SettleOpset(),  # newer opsets: what is left is old enough by now
    ]


def tokens() -> list[Pass]:
    """Linear layers on tokens and what stands around them, from the inside out."""
    return [
        FuseLinear(),  # first: the others start from a Linear
        FoldLinearScale(),  # before the add, which would stand between
        FuseLinearGelu(),  # before the norm, which reads either kind
        FuseNormLinear(),  # a layer with a norm in front keeps its residual outside
        FuseLinearAdd(),  # the layers that no norm took
        FuseMlp(),  # both layers have their final form
    ]


def batch_first() -> list[Pass]:
    """Layers on [tokens, batch, channels] work on [batch, tokens, channels]."""
    return [
        CanonicalBatchSecond(),  # one step of a Transpose past a layer uncovers the next
        RemoveIdentity(),  # Transposes that met
    ]


def demand() -> list[Pass]:
    """Leaves out what nobody reads."""
    return [
        SelectBeforeAttention(),  # before rows are narrowed, which may leave no selection
        NarrowRows(),  # from the outputs up
        FuseNormLinear(),  # the head's norm, which now stands next to its layer
    ]


def channels_last() -> list[Pass]:
    """Lets layers behind a LayerNorm over the channels of a map look like a transformer's."""
    steps: list[Pass] = [CanonicalTokenMaps(), SinkTransposes()]
    return [
        *steps,  # before the convolutions among them are fused as such
        Repeat(steps, "repeat_layout", "each of the two uncovers work of the other"),
    ]


def default() -> list[Pass]:
    """The passes that every target starts with."""
    return [*clean(), *canonical(), *fuse()]
