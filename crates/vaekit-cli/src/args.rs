//! The command line, as clap reads it.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use vaekit::Domain;
use vaekit_onnx::Precision;
use vaekit_ort::{Choice, Provider};

use crate::tiles::Tiles;

/// Turns pictures into latents and latents into pictures, with any Stable Diffusion VAE.
#[derive(Debug, Parser)]
#[command(name = "vaekit", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  vaekit roundtrip --vae starter photo.jpg -o out.png
  vaekit convert vae-ft-mse-840000-ema-pruned.safetensors -o mse --verify
  vaekit encode --vae mse photo.jpg -o latents.safetensors
  vaekit decode latents.safetensors -o photo.png          # with the VAE that made them
  vaekit vae list --vae-dir ~/stable-diffusion-webui      # the VAEs you have; then --vae NAME
  vaekit compare photos/ --vae mse --vae anime -o report

Exit codes: 0 done, 1 other failure, 2 usage, 3 bad input, 4 engine unavailable, 5 verification failed, 6 hub unreachable, 130 interrupted")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to talk.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows what a checkpoint or model holds, or which VAE made a picture or latents
    Inspect(InspectArgs),
    /// Converts a checkpoint to a folder of ONNX models
    Convert(ConvertArgs),
    /// Encodes pictures to latents
    Encode(EncodeArgs),
    /// Decodes latents to pictures
    Decode(DecodeArgs),
    /// Encodes a picture, decodes it again, and says how alike the two are
    Roundtrip(RoundtripArgs),
    /// Sends pictures through several VAEs and reports which comes closest, with pictures to look at
    Compare(CompareArgs),
    /// Shows every engine and execution provider: whether it works here, or why not
    Devices,
    /// Installs ONNX Runtime, or shows what is installed
    #[command(subcommand)]
    Runtime(RuntimeCommand),
    /// Lists the VAEs you have, and chooses the one to use
    #[command(subcommand)]
    Vae(VaeCommand),
    /// Shows or removes what vaekit keeps to be quick: conversions and hashes
    #[command(subcommand)]
    Cache(CacheCommand),
}

/// How to talk.
#[derive(Clone, Debug, Default, Args)]
pub struct OutputArgs {
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Print results and errors only: no progress, no notes
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print more of what happens; twice for what libraries say
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// `vaekit inspect`
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A checkpoint (.safetensors, .ckpt, .pt, .pth; the two halves of a TAESD count as one), a model folder, a model.onnx, a
    /// PNG, or a file of latents
    #[arg(required = true, num_args = 1..=2)]
    pub paths: Vec<PathBuf>,
    /// Where to look for the VAE that made a picture or latents.
    #[command(flatten)]
    pub library: LibraryArgs,
    /// What a checkpoint alone does not say.
    #[command(flatten)]
    pub checkpoint: CheckpointArgs,
}

/// What a checkpoint alone may not say.
#[derive(Clone, Debug, Default, Args)]
pub struct CheckpointArgs {
    /// diffusers' config.json for the checkpoint, where none lies beside it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How its latents are scaled: sd1, sdxl, sd3, flux1 ..., or a factor and perhaps a shift
    #[arg(long, value_name = "NAME|FACTOR[,SHIFT]")]
    pub scaling: Option<String>,
}

impl CheckpointArgs {
    /// These, or with this scaling if the command line says nothing of it.
    pub(crate) fn or_scaling(mut self, scaling: &Option<String>) -> Self {
        if self.config.is_none() && self.scaling.is_none() {
            self.scaling.clone_from(scaling);
        }
        self
    }
}

/// `vaekit convert`
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// The checkpoint; two files where encoder and decoder lie apart (TAESD)
    #[arg(required = true, num_args = 1..=2, value_name = "CKPT")]
    pub checkpoints: Vec<PathBuf>,
    /// The model folder to make
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// Numbers inside the graphs; both ends stay fp32
    #[arg(long, value_enum, default_value = "fp32")]
    pub precision: PrecisionArg,
    /// Name that outputs carry; the folder's by default
    #[arg(long, value_name = "N")]
    pub vae_name: Option<String>,
    /// Run the graphs on every engine there is and compare with an independent evaluation of the checkpoint
    #[arg(long)]
    pub verify: bool,
    /// Record the sha256 of a whole checkpoint too, which means reading all of it
    #[arg(long)]
    pub hash: bool,
    /// What a checkpoint alone does not say.
    #[command(flatten)]
    pub checkpoint: CheckpointArgs,
}

/// `--precision`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// 32 bit
    #[default]
    Fp32,
    /// 16 bit: half the size, twice as fast on many GPUs; ranges that fp16 lacks are folded away
    Fp16,
}

impl From<PrecisionArg> for Precision {
    fn from(precision: PrecisionArg) -> Self {
        match precision {
            PrecisionArg::Fp32 => Precision::Fp32,
            PrecisionArg::Fp16 => Precision::Fp16,
        }
    }
}

/// Where VAEs are.
#[derive(Clone, Debug, Default, Args)]
pub struct LibraryArgs {
    /// A folder of VAEs, or a whole installation of a web UI or of ComfyUI (with its extra_model_paths.yaml); may be given
    /// several times [default: VAEKIT_VAE_DIR, else models/VAE here and vaekit's own]
    #[arg(long = "vae-dir", value_name = "DIR")]
    pub folders: Vec<PathBuf>,
}

/// Which VAE.
#[derive(Clone, Debug, Default, Args)]
pub struct ChoiceArgs {
    /// A model folder, a checkpoint (converted once, then cached), the name or hash of an installed VAE, `starter`,
    /// `Automatic` or `None` [default: what `vaekit vae use` remembers, else `starter`]
    #[arg(long, value_name = "V", long_help = VAE_HELP)]
    pub vae: Option<String>,
    /// The whole checkpoint that `Automatic` and `None` choose for; it also tells how latents are scaled
    #[arg(long = "checkpoint", value_name = "FILE")]
    pub of: Option<PathBuf>,
    /// Where VAEs are.
    #[command(flatten)]
    pub library: LibraryArgs,
}

const VAE_HELP: &str = "Which VAE:
  PATH       a model folder, a model.onnx, or a checkpoint (converted once, then cached)
  NAME       an installed VAE, by its file's name with or without the ending, in any
             case, or by the first digits of its hash; else a known VAE that was fetched,
             with `vaekit vae fetch` or by a Python program; see `vaekit vae list`
  starter    the small VAE that vaekit embeds
  Automatic  NAME.vae.safetensors (.ckpt, .pt) beside the --checkpoint, else the VAE in it
  None       the VAE in the --checkpoint, always

Default: what `vaekit vae use` remembers, else Automatic if there is a --checkpoint, else
`starter`. `vaekit decode` takes the VAE that made the latents, where they say so.";

/// Which VAE, and what it runs on.
#[derive(Clone, Debug, Default, Args)]
pub struct VaeArgs {
    /// Which VAE.
    #[command(flatten)]
    pub choice: ChoiceArgs,
    /// Numbers inside the graphs of a checkpoint; fp32 by default
    #[arg(long, value_enum)]
    pub precision: Option<PrecisionArg>,
    /// What a checkpoint alone does not say.
    #[command(flatten)]
    pub checkpoint: CheckpointArgs,
    /// What it runs on.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// What a VAE runs on.
#[derive(Clone, Debug, Default, Args)]
pub struct EngineArgs {
    /// The engine
    #[arg(long, value_enum, default_value = "auto")]
    pub engine: EngineArg,
    /// ONNX Runtime's execution provider: auto, cpu, cuda, tensorrt, directml, coreml, openvino, webgpu, migraphx, xnnpack
    #[arg(long, value_name = "P", default_value = "auto")]
    pub provider: Choice,
    /// Which of the provider's devices: a number (CUDA, TensorRT, DirectML), GPU or GPU.1 (OpenVINO), ane (CoreML), part of a name (--engine wgpu) ...
    #[arg(long, value_name = "ID")]
    pub device: Option<String>,
    /// Threads of a CPU; one a core by default
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// When to cut pictures into tiles, which overlap and are cross-faded: `auto` where one piece does not fit into memory,
    /// `never`, or always, in tiles of SIDE pixels that share OVERLAP [default overlap: a quarter]
    #[arg(long, value_name = "auto|never|SIDE[:OVERLAP]", default_value_t)]
    pub tiles: Tiles,
    /// Let the provider compute with fewer bits than the model has (TF32, fp16)
    #[arg(long)]
    pub reduced_precision: bool,
    /// Folder for what TensorRT, CoreML and OpenVINO compile, so that the next start is quick
    #[arg(long, value_name = "DIR")]
    pub provider_cache: Option<PathBuf>,
}

impl EngineArgs {
    /// The options for ONNX Runtime.
    pub fn ort_options(&self) -> vaekit_ort::Options {
        vaekit_ort::Options {
            provider: self.provider,
            threads: self.threads,
            device: self.device.clone(),
            precision: if self.reduced_precision {
                vaekit_ort::Precision::Reduced
            } else {
                vaekit_ort::Precision::Model
            },
            cache: self.provider_cache.clone(),
            ..vaekit_ort::Options::default()
        }
    }
}

/// `--engine`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum EngineArg {
    /// ONNX Runtime on a GPU that works, else vaekit's own engines, on a GPU or the CPU
    #[default]
    Auto,
    /// vaekit's own: the fastest on a CPU, nothing to install
    Cpu,
    /// vaekit's own on a GPU, through Vulkan, Metal or DX12: nothing to install
    Wgpu,
    /// ONNX Runtime
    Ort,
    /// tract: any CPU, any model, nothing to install; slow
    Tract,
}

impl EngineArg {
    /// As it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            EngineArg::Auto => "auto",
            EngineArg::Cpu => "cpu",
            EngineArg::Wgpu => "wgpu",
            EngineArg::Ort => "ort",
            EngineArg::Tract => "tract",
        }
    }
}

/// `--latents`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DomainArg {
    /// As the VAE makes them (diffusers' latent_dist, ComfyUI's files)
    Raw,
    /// As the diffusion model sees them, near unit variance
    Scaled,
}

impl From<DomainArg> for Domain {
    fn from(domain: DomainArg) -> Self {
        match domain {
            DomainArg::Raw => Domain::Raw,
            DomainArg::Scaled => Domain::Scaled,
        }
    }
}

/// `vaekit encode`
#[derive(Debug, Args)]
pub struct EncodeArgs {
    /// Pictures: PNG, JPEG, WebP, TIFF
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// The file to write (.safetensors, .latent, .npy, .npz), or a folder for several
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
    /// Draw from the posterior instead of taking its mean
    #[arg(long)]
    pub sample: bool,
    /// Seed of the draw; the same seed draws the same latents on every machine
    #[arg(long, default_value_t = 0, requires = "sample", value_name = "N")]
    pub seed: u64,
    /// Which latents to write; what the VAE makes by default
    #[arg(long, value_enum)]
    pub latents: Option<DomainArg>,
    /// What to do with sides that are no multiple of the VAE's factor
    #[arg(long, value_enum, default_value = "pad")]
    pub resize: ResizeArg,
    /// Most pictures of one size that are encoded in one run
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub batch: usize,
    /// Which VAE.
    #[command(flatten)]
    pub vae: VaeArgs,
}

/// `--resize`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ResizeArg {
    /// Add rows and columns by reflection; decoding crops them off again
    #[default]
    Pad,
    /// Cut off the edges evenly, as ComfyUI does
    Crop,
}

/// `vaekit decode`
#[derive(Debug, Args)]
pub struct DecodeArgs {
    /// Latents: .safetensors, .latent, .npy, .npz
    #[arg(required = true, value_name = "LATENTS")]
    pub files: Vec<PathBuf>,
    /// The PNG to write, or a folder for several
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
    /// Which latents the files hold, whatever they say themselves
    #[arg(long, value_enum)]
    pub latents: Option<DomainArg>,
    /// Height and width of the picture, for latents packed into tokens (diffusers' FLUX)
    #[arg(long, value_name = "HxW", value_parser = parse_size)]
    pub token_size: Option<(usize, usize)>,
    /// Which tensor or array to decode, where a file holds several
    #[arg(long, value_name = "NAME")]
    pub tensor: Option<String>,
    /// Also write the decoder's own numbers, f32 (N, 3, H, W), nominally from -1 to 1; for one file
    #[arg(long, value_name = "FILE.npy")]
    pub dump: Option<PathBuf>,
    /// Write 16 bits a sample
    #[arg(long)]
    pub sixteen_bit: bool,
    /// Decode latents that were made by a VAE with other latents all the same
    #[arg(long)]
    pub force: bool,
    /// Most latents of one size that are decoded in one run
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub batch: usize,
    /// Which VAE.
    #[command(flatten)]
    pub vae: VaeArgs,
}

fn parse_size(text: &str) -> Result<(usize, usize), String> {
    let parse = |side: &str| side.parse::<usize>().ok().filter(|&side| side > 0);
    let sides = text.split_once('x').and_then(|(height, width)| Some((parse(height)?, parse(width)?)));
    sides.ok_or_else(|| format!("`{text}` is no size; write HEIGHTxWIDTH, for example 1024x768"))
}

/// `vaekit roundtrip`
#[derive(Debug, Args)]
pub struct RoundtripArgs {
    /// The picture
    #[arg(value_name = "IMAGE")]
    pub image: PathBuf,
    /// The PNG to write
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
    /// Which VAE.
    #[command(flatten)]
    pub vae: VaeArgs,
}

/// `vaekit vae`
#[derive(Debug, Subcommand)]
pub enum VaeCommand {
    /// Lists VAEs by name and short hash
    #[command(
        after_help = "The short hash is the web UI's: the first 10 digits of the file's sha256. Listing opens no file and
shows the hashes that are known from earlier; --hash reads what is missing, once.

Examples:
  vaekit vae list --vae-dir ~/stable-diffusion-webui      # or ~/ComfyUI, or any folder of VAEs
  vaekit vae list --hash                                  # also finds copies under other names
  vaekit vae list --installed                             # without those that could be fetched"
    )]
    List(VaeListArgs),
    /// Shows one VAE: files, hashes, family, scaling, copies; what it is good for and its licence, where it is a known one
    Info(VaeInfoArgs),
    /// Remembers a VAE for all commands without --vae
    #[command(after_help = "Examples:
  vaekit vae use vae-ft-mse-840000-ema-pruned
  vaekit vae use Automatic        # the file beside --checkpoint, else the VAE in it
  vaekit vae use --forget         # back to the starter VAE")]
    Use(VaeUseArgs),
    /// Shows which VAE a command with these options would use, and why
    Which(VaeWhichArgs),
    /// Fetches VAEs by name, checks them, and keeps them where diffusers finds them too
    #[command(after_help = FETCH_HELP)]
    Fetch(VaeFetchArgs),
    /// Prints where a VAE's weights are
    #[command(after_help = "Example:
  vaekit convert \"$(vaekit vae path taesd)\" -o taesd")]
    Path(VaePathArgs),
    /// Reads fetched VAEs again and compares their hashes
    Verify(VaeVerifyArgs),
    /// Removes fetched VAEs from the hub's cache, which other programs share
    Remove(VaeRemoveArgs),
}

const FETCH_HELP: &str = "A name is one of `vaekit vae list`, or of your own registry (a file like vaekit's models/registry.toml; `vaekit vae list`
says where); the first digits of a file's sha256, as the web UI shows them, will do. What is here already, fetched by vaekit or by
a Python program, is checked and not fetched again. A fetch that was interrupted goes on where it stopped. Size and sha256 are
compared before a file gets its name; where nobody knows the sha256, the first one is recorded, and a later change is an error.

Environment, as Hugging Face's own programs have it:
  HF_TOKEN                              for gated VAEs, whose licence you accept on their page first
  HF_ENDPOINT                           another hub, or a mirror
  HF_HOME, HF_HUB_CACHE                 where files are kept
  HF_HUB_OFFLINE=1                      use what is here
  HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY

Examples:
  vaekit vae fetch taesd
  vaekit vae fetch vae-ft-mse-840000-ema-pruned kl-f8-anime2
  vaekit vae fetch 735e4c3a44              # what made a picture of the web UI: vaekit inspect picture.png
  vaekit roundtrip --vae taesd photo.jpg -o back.png";

/// `vaekit vae list`
#[derive(Debug, Args)]
pub struct VaeListArgs {
    /// Only VAEs that are on this machine
    #[arg(long)]
    pub installed: bool,
    /// Read what was not read before, to show all hashes and find copies
    #[arg(long)]
    pub hash: bool,
    /// Where VAEs are.
    #[command(flatten)]
    pub library: LibraryArgs,
}

/// `vaekit vae info`
#[derive(Debug, Args)]
pub struct VaeInfoArgs {
    /// A name or hash, as in the list; `starter`; or a path
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Where VAEs are.
    #[command(flatten)]
    pub library: LibraryArgs,
}

/// `vaekit vae use`
#[derive(Debug, Args)]
pub struct VaeUseArgs {
    /// A name or hash, as in the list; `starter`, `Automatic`, `None`; or a path
    #[arg(value_name = "NAME", required_unless_present = "forget")]
    pub name: Option<String>,
    /// Forget what was remembered
    #[arg(long, conflicts_with = "name")]
    pub forget: bool,
    /// Where VAEs are.
    #[command(flatten)]
    pub library: LibraryArgs,
}

/// `vaekit vae which`
#[derive(Debug, Args)]
pub struct VaeWhichArgs {
    /// Which VAE.
    #[command(flatten)]
    pub choice: ChoiceArgs,
}

/// `vaekit vae fetch`
#[derive(Debug, Args)]
pub struct VaeFetchArgs {
    /// Names of known VAEs
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Take a file that differs from the one fetched first, where only that one's sha256 is known
    #[arg(long)]
    pub trust_new: bool,
}

/// `vaekit vae path`
#[derive(Debug, Args)]
pub struct VaePathArgs {
    /// A name or hash, as in the list
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Where VAEs are.
    #[command(flatten)]
    pub library: LibraryArgs,
}

/// `vaekit vae verify`
#[derive(Debug, Args)]
pub struct VaeVerifyArgs {
    /// Names of fetched VAEs [default: all of them]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

/// `vaekit vae remove`
#[derive(Debug, Args)]
pub struct VaeRemoveArgs {
    /// Names of fetched VAEs
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

/// `vaekit cache`
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Shows the conversions that are kept, and where
    List,
    /// Removes conversions; they are made again when needed
    Clear {
        /// Keys, as `vaekit cache list` shows them; everything, hashes too, if none is given
        #[arg(value_name = "KEY")]
        keys: Vec<String>,
    },
}

/// `vaekit compare`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vaekit compare photos/ --vae mse --vae ema --vae anime.ckpt -o report
  vaekit compare photo.jpg --vae mse,engine=ort --vae mse,engine=tract -o report
  vaekit compare photo.jpg --vae vae.safetensors --vae vae.safetensors,precision=fp16,label=half -o report
  vaekit compare photos/ --checkpoint anime.safetensors --vae Automatic --vae None -o report   # its own file, and the one in it")]
pub struct CompareArgs {
    /// Pictures (PNG, JPEG, WebP, TIFF), or folders of pictures; five or more for a verdict that means something
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// What to compare, as often as there is something: a VAE as elsewhere, and perhaps how to run it: engine=, provider=,
    /// device=, tiles=, precision=fp32|fp16, scaling=, config=, label=
    #[arg(long = "vae", required = true, value_name = "V[,KEY=VALUE]...")]
    pub variants: Vec<VariantArg>,
    /// The folder for index.html, report.json and report.csv
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// The whole checkpoint that a --vae `Automatic` or `None` chooses for; it also tells how latents are scaled
    #[arg(long = "checkpoint", value_name = "FILE")]
    pub of: Option<PathBuf>,
    /// Also write every decoded picture, as PNG into a folder for each VAE
    #[arg(long)]
    pub pictures: bool,
    /// Where VAEs are.
    #[command(flatten)]
    pub library: LibraryArgs,
    /// What everything runs on where a --vae says nothing else.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// One `--vae` of a comparison.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VariantArg {
    /// The VAE, as elsewhere.
    pub vae: String,
    /// `label=`
    pub label: Option<String>,
    /// `engine=`
    pub engine: Option<EngineArg>,
    /// `provider=`
    pub provider: Option<Choice>,
    /// `device=`
    pub device: Option<String>,
    /// `tiles=`
    pub tiles: Option<Tiles>,
    /// `precision=`
    pub precision: Option<PrecisionArg>,
    /// `scaling=`
    pub scaling: Option<String>,
    /// `config=`
    pub config: Option<PathBuf>,
}

/// What may be said of a VAE that is compared.
const VARIANT_KEYS: [&str; 8] = ["label", "engine", "provider", "device", "tiles", "precision", "scaling", "config"];

impl std::str::FromStr for VariantArg {
    type Err = String;

    /// A comma counts where a known key and `=` follow; others belong to what stands before (`scaling=0.36,0.12`).
    fn from_str(text: &str) -> Result<Self, String> {
        let key_of = |part: &str| part.split_once('=').is_some_and(|(key, _)| VARIANT_KEYS.contains(&key));
        let mut parts: Vec<String> = Vec::new();
        for part in text.split(',') {
            match parts.last_mut() {
                Some(last) if !key_of(part) => *last = format!("{last},{part}"),
                _ => parts.push(part.to_owned()),
            }
        }
        let mut variant = VariantArg { vae: parts.remove(0), ..VariantArg::default() };
        for part in &parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match key {
                "label" => variant.label = Some(value.to_owned()),
                "engine" => variant.engine = Some(EngineArg::from_str(value, true)?),
                "provider" => variant.provider = Some(value.parse().map_err(|error| format!("{error}"))?),
                "device" => variant.device = Some(value.to_owned()),
                "tiles" => variant.tiles = Some(value.parse()?),
                "precision" => variant.precision = Some(PrecisionArg::from_str(value, true)?),
                "scaling" => variant.scaling = Some(value.to_owned()),
                _ => variant.config = Some(value.into()),
            }
        }
        if variant.vae.is_empty() {
            return Err("it names no VAE; write V or V,KEY=VALUE".into());
        }
        Ok(variant)
    }
}

impl VariantArg {
    /// Which VAE, of those that `args` have, and what it runs on, with their engine where this says nothing else.
    pub fn vae_args(&self, args: &CompareArgs) -> VaeArgs {
        let CompareArgs { of, library, engine, .. } = args;
        VaeArgs {
            choice: ChoiceArgs { vae: Some(self.vae.clone()), of: of.clone(), library: library.clone() },
            precision: self.precision,
            checkpoint: CheckpointArgs { config: self.config.clone(), scaling: self.scaling.clone() },
            engine: EngineArgs {
                engine: self.engine.unwrap_or(engine.engine),
                provider: self.provider.unwrap_or(engine.provider),
                device: self.device.clone().or_else(|| engine.device.clone()),
                // Tiles that nobody asked for would make the comparison an unfair one.
                tiles: match self.tiles.unwrap_or(engine.tiles) {
                    Tiles::Auto => Tiles::Never,
                    asked => asked,
                },
                ..engine.clone()
            },
        }
    }

    /// What looks like a misspelt key in the VAE's name, for a VAE that is not found.
    pub fn unknown_key(&self) -> Option<String> {
        let is_key = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        let parts = self.vae.split(',').skip(1);
        let (key, _) = parts.filter_map(|part| part.split_once('=')).find(|(key, _)| is_key(key.trim()))?;
        let known = VARIANT_KEYS.map(|known| format!("{known}=")).join(", ");
        Some(format!("`{}=` says nothing about a VAE; what does is {known}", key.trim()))
    }

    /// A label: the one given, else `name` and whatever was asked for beside it.
    pub fn label(&self, name: &str) -> String {
        fn name_of(value: Option<impl ValueEnum>) -> Option<String> {
            Some(value?.to_possible_value()?.get_name().to_owned())
        }
        let asked = [
            name_of(self.engine),
            self.provider.map(|provider| provider.to_string()),
            self.device.clone(),
            self.tiles.map(|tiles| format!("tiles {tiles}")),
            name_of(self.precision),
            self.scaling.clone(),
        ];
        let parts = std::iter::once(name.to_owned()).chain(asked.into_iter().flatten());
        self.label.clone().unwrap_or_else(|| parts.collect::<Vec<_>>().join(" "))
    }
}

/// `vaekit runtime`
#[derive(Debug, Subcommand)]
pub enum RuntimeCommand {
    /// Fetches ONNX Runtime with npm or pip, checks it, and puts it where vaekit finds it
    Install {
        /// Which build: cpu, cuda, directml, openvino, webgpu
        #[arg(long, default_value = "cpu", value_name = "P")]
        provider: Provider,
    },
    /// Shows what is installed and what can be
    List,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn variants() {
        let parse = |text: &str| text.parse::<VariantArg>();
        assert_eq!(parse("a,b.ckpt"), Ok(VariantArg { vae: "a,b.ckpt".into(), ..VariantArg::default() }));
        let full = parse("x/a.ckpt,engine=ort,scaling=0.36,0.12,precision=fp16").unwrap();
        assert_eq!((full.vae.as_str(), full.scaling.as_deref()), ("x/a.ckpt", Some("0.36,0.12")));
        assert_eq!((full.engine, full.precision), (Some(EngineArg::Ort), Some(PrecisionArg::Fp16)));
        assert_eq!(full.label("a"), "a ort fp16 0.36,0.12");
        assert_eq!(parse("a,label=mine, engine=x").unwrap().label("a"), "mine, engine=x");
        assert!(
            parse("a,engine=onnx").is_err() && parse("engine=ort").is_ok_and(|variant| variant.vae == "engine=ort")
        );
    }

    #[test]
    fn misspelt_keys() {
        let check = |text: &str, expected: Option<&str>| {
            let found = text.parse::<VariantArg>().unwrap().unknown_key();
            assert_eq!(found.is_some(), expected.is_some(), "{text}: {found:?}");
            let words = found.zip(expected).is_none_or(|(found, expected)| {
                found.starts_with(&format!("`{expected}=`")) && found.ends_with("scaling=, config=")
            });
            assert!(words, "{text}");
        };
        check("mse,presision=fp16", Some("presision"));
        check("mse,presision=fp16,engine=ort", Some("presision"));
        check("mse, Label=x", Some("Label"));
        check("mse,label=a,b=c", None);
        check("a,b.ckpt", None);
        check("a=b", None);
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("1024x768"), Ok((1024, 768)));
        assert!(parse_size("1024").is_err() && parse_size("0x8").is_err());
    }
}
