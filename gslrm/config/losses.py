"""Loss terms and their weights."""

from typing import Annotated

from pydantic import Field

from gslrm.config.section import Section, Weight, only


class LossesConfig(Section):
    l2_loss_weight: Weight = 1.0
    """Mean squared colour error."""
    masked_l2_loss: bool = False
    """L2 over foreground pixels only, divided by their number times 3."""
    background_loss_weight: Weight = 0.0
    """Squared distance to the background colour outside the mask; goes with `masked_l2_loss`."""
    alpha_loss_weight: Weight = 0.0
    """Silhouette: squared difference of rendered alpha and mask."""
    ssim_loss_weight: Weight = 0.0
    """1 - SSIM, SSIM bounded to [0, 1]."""
    masked_ssim_loss: bool = False
    """SSIM with both images set to 0.5 outside the mask."""
    perceptual_loss_weight: Weight = 0.0
    """VGG19 features as in FaceLift."""
    perceptual_weights: str | None = None
    """Checkpoint whose `loss_calculator.perceptual_loss_module` keys hold the VGG19 weights (FaceLift's does)."""
    lpips_loss_weight: Weight = 0.0
    """LPIPS (VGG)."""
    pixelalign_loss_weight: Annotated[Weight, only(0, "this term is not implemented yet")] = 0.0
    masked_pixelalign_loss: Annotated[bool, Field(description="Read with `pixelalign_loss_weight` only.")] = True
    pointsdist_loss_weight: Annotated[Weight, only(0, "this term is not implemented yet")] = 0.0
    warmup_pointsdist: Annotated[bool, only(False, "the points-dist warm-up is not implemented yet")] = False
    distill_loss_weight: Annotated[Weight, only(0, "the original never read it and no such term exists")] = 0.0
