//! Tiny VAEs of every family.

use vaekit::{Domain, Kl, KlClass, KlHalf, LatentSpace, Network, Scaling, Tiny, TinyDecoder, TinyEncoder, VaeConfig};

/// Every family's name and config.
pub(crate) fn families() -> Vec<(&'static str, VaeConfig)> {
    let asymmetric = |kl: &mut Kl| {
        kl.kind = KlClass::AsymmetricAutoencoderKl;
        kl.decoder = Some(KlHalf { block_out_channels: vec![12, 16], resnets_per_block: 3 });
    };
    let flux2 = |kl: &mut Kl| kl.kind = KlClass::AutoencoderKlFlux2;
    vec![
        ("kl", kl(4, |_| {})),
        ("kl_without_attention", kl(4, |kl| kl.mid_attention = false)),
        ("kl_without_quant_convs", kl(16, |kl| (kl.quant_conv, kl.post_quant_conv) = (false, false))),
        ("asymmetric", kl(4, asymmetric)),
        ("flux2", kl(32, flux2)),
        ("tiny", tiny(4, false, None)),
        ("tiny_with_pool", tiny(32, true, None)),
        ("sana", tiny(32, false, Some(4))),
    ]
}

/// A small AutoencoderKL of factor 2 with C latent channels.
pub(crate) fn kl(channels: usize, change: impl FnOnce(&mut Kl)) -> VaeConfig {
    let half = |resnets_per_block| Some(KlHalf { block_out_channels: vec![4, 8], resnets_per_block });
    let mut kl = Kl {
        kind: KlClass::AutoencoderKl,
        encoder: half(1),
        decoder: half(2),
        norm_num_groups: 4,
        mid_attention: true,
        quant_conv: true,
        post_quant_conv: true,
    };
    change(&mut kl);
    let scaling = Some(Scaling::factor(0.18215));
    let latents = LatentSpace { channels, downsample_factor: 2, native: Domain::Raw, scaling, packed: false };
    VaeConfig { network: Network::Kl(kl), latents }
}

/// A small AutoencoderTiny with C latent channels: of factor 2, or 8 with a strided stem.
pub(crate) fn tiny(channels: usize, mid_pool: bool, strided_stem: Option<usize>) -> VaeConfig {
    let (widths, downsample_factor) = match strided_stem {
        None => (vec![4, 4], 2),
        Some(_) => (vec![8, 8, 4, 4], 8),
    };
    let num_blocks = vec![1; widths.len()];
    let encoder = TinyEncoder { block_out_channels: vec![4, 4], num_blocks: vec![1, 1], strided_stem };
    let decoder = TinyDecoder { block_out_channels: widths, num_blocks };
    VaeConfig {
        network: Network::Tiny(Tiny { encoder: Some(encoder), decoder: Some(decoder), mid_pool }),
        latents: LatentSpace { channels, downsample_factor, native: Domain::Scaled, scaling: None, packed: false },
    }
}
