//! The packages that carry ONNX Runtime, pinned: which one brings which provider on which system, and what is in it.
//!
//! Sizes and hashes are those of the files that the package clients fetched in November 2026. A new version means new rows
//! here: fetch each file as [`Client`] does, and take its size and sha256.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::library::NAMES;
use crate::provider::Provider;

/// A package client of the user's. It knows its registry, which vaekit does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Client {
    /// Python's.
    Pip,
    /// Node's.
    Npm,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Client::Pip => "pip",
            Client::Npm => "npm",
        })
    }
}

/// A way to get ONNX Runtime with a provider on a system.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) provider: Provider,
    /// Operating system and architecture, as [`std::env::consts`] writes them.
    pub(crate) system: (&'static str, &'static str),
    pub(crate) client: Client,
    /// The first one carries ONNX Runtime itself, and gives the package its name and version.
    pub(crate) archives: &'static [Archive],
}

/// One file of a registry's.
#[derive(Debug)]
pub(crate) struct Archive {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// pip's name for the system.
    pub(crate) tag: &'static str,
    pub(crate) file: &'static str,
    pub(crate) bytes: u64,
    pub(crate) sha256: &'static str,
    /// The folder in it from which `members` are taken.
    pub(crate) folder: &'static str,
    /// Files to take. The first one, in the first archive, is the library, which gets its usual name.
    pub(crate) members: &'static [&'static str],
}

impl Package {
    pub(crate) fn name(&self) -> &'static str {
        self.archives[0].name
    }

    pub(crate) fn version(&self) -> &'static str {
        self.archives[0].version
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.archives.iter().map(|archive| archive.bytes).sum()
    }

    /// The name under which a member is installed.
    pub(crate) fn installed_name(&self, member: &'static str) -> &'static str {
        if member == self.archives[0].members[0] { NAMES[0] } else { member }
    }
}

/// This operating system and architecture. A Linux without glibc is none that the packages are made for.
pub(crate) fn this_system() -> (&'static str, &'static str) {
    let system = if cfg!(all(target_os = "linux", not(target_env = "gnu"))) {
        "linux without glibc"
    } else {
        std::env::consts::OS
    };
    (system, std::env::consts::ARCH)
}

/// The ways to get ONNX Runtime with a provider on a system, smallest first.
pub(crate) fn packages(provider: Provider, system: (&str, &str)) -> impl Iterator<Item = &'static Package> {
    // Some providers come with another one's build.
    let provider = match (provider, system.0) {
        (Provider::TensorRt, _) => Provider::Cuda,
        (Provider::CoreMl, "macos") => Provider::Cpu,
        _ => provider,
    };
    PACKAGES.iter().filter(move |package| package.provider == provider && package.system == system)
}

/// How to get an ONNX Runtime that has the provider.
pub(crate) fn advice(provider: Provider) -> String {
    let (system, architecture) = this_system();
    if !provider.exists_here() {
        return format!("it is for {}, this is {system}", provider.systems().join(" and "));
    }
    match packages(provider, (system, architecture)).next() {
        Some(package) => format!("{} has it: run `vaekit runtime install --provider {provider}`", package.name()),
        None => format!(
            "no package for {system} {architecture} has it: build ONNX Runtime with it and set ORT_DYLIB_PATH to the library"
        ),
    }
}

const CAPI: &str = "onnxruntime/capi/";
const VERSION: &str = "1.30.0";

const fn pip(provider: Provider, system: (&'static str, &'static str), archives: &'static [Archive]) -> Package {
    Package { provider, system, client: Client::Pip, archives }
}

const fn npm(provider: Provider, system: (&'static str, &'static str), archives: &'static [Archive]) -> Package {
    Package { provider, system, client: Client::Npm, archives }
}

/// The one file of npm's, which holds the builds for all systems. It has no CUDA library, though the build asks for one.
const fn node(folder: &'static str, members: &'static [&'static str]) -> Archive {
    Archive {
        name: "onnxruntime-node",
        version: VERSION,
        tag: "",
        file: "onnxruntime-node-1.30.0.tgz",
        bytes: 113_507_888,
        sha256: "6e3390d6b783e7be946fad629292799da28d0b42f84856e50d2c1b0383291e75",
        folder,
        members,
    }
}

const LINUX: (&str, &str) = ("linux", "x86_64");
const LINUX_ARM: (&str, &str) = ("linux", "aarch64");
const MACOS: (&str, &str) = ("macos", "aarch64");
const WINDOWS: (&str, &str) = ("windows", "x86_64");
const WINDOWS_ARM: (&str, &str) = ("windows", "aarch64");

const NODE_LINUX: &[Archive] = &[node("package/bin/napi-v6/linux/x64/", &["libonnxruntime.so.1"])];
const NODE_LINUX_ARM: &[Archive] = &[node("package/bin/napi-v6/linux/arm64/", &["libonnxruntime.so.1"])];
const NODE_MACOS: &[Archive] = &[node("package/bin/napi-v6/darwin/arm64/", &["libonnxruntime.1.30.0.dylib"])];
const NODE_WINDOWS_FILES: &[&str] = &["onnxruntime.dll", "DirectML.dll", "dxcompiler.dll", "dxil.dll"];
const NODE_WINDOWS: &[Archive] = &[node("package/bin/napi-v6/win32/x64/", NODE_WINDOWS_FILES)];
const NODE_WINDOWS_ARM: &[Archive] = &[node("package/bin/napi-v6/win32/arm64/", NODE_WINDOWS_FILES)];

/// Where a provider can be had in two ways, the smaller file is first.
const PACKAGES: &[Package] = &[
    pip(
        Provider::Cpu,
        LINUX,
        &[Archive {
            name: "onnxruntime",
            version: VERSION,
            tag: "manylinux_2_28_x86_64",
            file: "onnxruntime-1.30.0-cp312-cp312-manylinux_2_28_x86_64.whl",
            bytes: 23_585_654,
            sha256: "fa688e7891a6aa206636fe7372e27ee75fd17713289f6b4fc7b190e0a7de9328",
            folder: CAPI,
            members: &["libonnxruntime.so.1.30.0"],
        }],
    ),
    npm(Provider::Cpu, LINUX, NODE_LINUX),
    pip(
        Provider::Cpu,
        LINUX_ARM,
        &[Archive {
            name: "onnxruntime",
            version: VERSION,
            tag: "manylinux_2_28_aarch64",
            file: "onnxruntime-1.30.0-cp312-cp312-manylinux_2_28_aarch64.whl",
            bytes: 21_345_202,
            sha256: "6c32a000d5139a38ba9349030b0032e3331acb559d596b22738d9d2b343a2b83",
            folder: CAPI,
            members: &["libonnxruntime.so.1.30.0"],
        }],
    ),
    npm(Provider::Cpu, LINUX_ARM, NODE_LINUX_ARM),
    pip(
        Provider::Cpu,
        MACOS,
        &[Archive {
            name: "onnxruntime",
            version: VERSION,
            tag: "macosx_14_0_arm64",
            file: "onnxruntime-1.30.0-cp312-cp312-macosx_14_0_arm64.whl",
            bytes: 21_544_867,
            sha256: "001ed726c9bd5e2bc92faade7d37d889e9606a350b7d5529f0227df2e3bb57fd",
            folder: CAPI,
            members: &["libonnxruntime.1.30.0.dylib"],
        }],
    ),
    npm(Provider::Cpu, MACOS, NODE_MACOS),
    pip(
        Provider::Cpu,
        WINDOWS,
        &[Archive {
            name: "onnxruntime",
            version: VERSION,
            tag: "win_amd64",
            file: "onnxruntime-1.30.0-cp312-cp312-win_amd64.whl",
            bytes: 14_311_470,
            sha256: "f3501472571f1b1eee50e017851e7929f5ea37312d2d8c2494a19e8fc58b4a38",
            folder: CAPI,
            members: &["onnxruntime.dll"],
        }],
    ),
    npm(Provider::Cpu, WINDOWS, NODE_WINDOWS),
    pip(
        Provider::Cpu,
        WINDOWS_ARM,
        &[Archive {
            name: "onnxruntime",
            version: VERSION,
            tag: "win_arm64",
            file: "onnxruntime-1.30.0-cp312-cp312-win_arm64.whl",
            bytes: 14_175_072,
            sha256: "dc4c706f1935ebb62356e6a095b047859badd854482c40560888e95c328ed262",
            folder: CAPI,
            members: &["onnxruntime.dll"],
        }],
    ),
    npm(Provider::Cpu, WINDOWS_ARM, NODE_WINDOWS_ARM),
    pip(
        Provider::Cuda,
        LINUX,
        &[Archive {
            name: "onnxruntime-gpu",
            version: VERSION,
            tag: "manylinux_2_28_x86_64",
            file: "onnxruntime_gpu-1.30.0-cp312-cp312-manylinux_2_28_x86_64.whl",
            bytes: 246_685_715,
            sha256: "6acc0f4b3d5ac5f2984432faa59dd8fcce6775f8b43a7140afa0f322c7a703b1",
            folder: CAPI,
            members: &[
                "libonnxruntime.so.1.30.0",
                "libonnxruntime_providers_shared.so",
                "libonnxruntime_providers_cuda.so",
                "libonnxruntime_providers_tensorrt.so",
            ],
        }],
    ),
    pip(
        Provider::Cuda,
        WINDOWS,
        &[Archive {
            name: "onnxruntime-gpu",
            version: VERSION,
            tag: "win_amd64",
            file: "onnxruntime_gpu-1.30.0-cp312-cp312-win_amd64.whl",
            bytes: 160_478_594,
            sha256: "882da66f936e1f560b155118c5953dc45268cd92893abb8d31a940f4d1effb36",
            folder: CAPI,
            members: &[
                "onnxruntime.dll",
                "onnxruntime_providers_shared.dll",
                "onnxruntime_providers_cuda.dll",
                "onnxruntime_providers_tensorrt.dll",
            ],
        }],
    ),
    pip(
        Provider::DirectMl,
        WINDOWS,
        &[Archive {
            name: "onnxruntime-directml",
            version: "1.24.4",
            tag: "win_amd64",
            file: "onnxruntime_directml-1.24.4-cp312-cp312-win_amd64.whl",
            bytes: 25_111_930,
            sha256: "f2ecb68b7b7b259d2ef3112ae760149f9b5a1e7c0fbb73d539da6250a648a614",
            folder: CAPI,
            members: &["onnxruntime.dll", "DirectML.dll"],
        }],
    ),
    npm(Provider::DirectMl, WINDOWS, NODE_WINDOWS),
    npm(Provider::DirectMl, WINDOWS_ARM, NODE_WINDOWS_ARM),
    pip(
        Provider::OpenVino,
        LINUX,
        &[Archive {
            name: "onnxruntime-openvino",
            version: "1.24.1",
            tag: "manylinux_2_28_x86_64",
            file: "onnxruntime_openvino-1.24.1-cp312-cp312-manylinux_2_28_x86_64.whl",
            bytes: 84_433_207,
            sha256: "d617fac2f59a6ab5ea59a788c3e1592240a129642519aaeaa774761dfe35150e",
            folder: CAPI,
            members: &[
                "libonnxruntime.so.1.24.1",
                "libonnxruntime_providers_shared.so",
                "libonnxruntime_providers_openvino.so",
                "libopenvino.so.2541",
                "libopenvino_onnx_frontend.so.2541",
                "libopenvino_intel_cpu_plugin.so",
                "libopenvino_intel_gpu_plugin.so",
                "libopenvino_intel_npu_plugin.so",
                "libtbb.so.12",
            ],
        }],
    ),
    pip(
        Provider::OpenVino,
        WINDOWS,
        &[
            Archive {
                name: "onnxruntime-openvino",
                version: "1.24.1",
                tag: "win_amd64",
                file: "onnxruntime_openvino-1.24.1-cp312-cp312-win_amd64.whl",
                bytes: 13_658_075,
                sha256: "f186335a9c9b255633275290da7521d3d4d14c7773fee3127bfa040234d3fa5a",
                folder: CAPI,
                members: &["onnxruntime.dll", "onnxruntime_providers_shared.dll", "onnxruntime_providers_openvino.dll"],
            },
            // On Windows OpenVINO itself is a package of its own.
            Archive {
                name: "openvino",
                version: "2025.4.1",
                tag: "win_amd64",
                file: "openvino-2025.4.1-20426-cp312-cp312-win_amd64.whl",
                bytes: 41_791_284,
                sha256: "c50293d1463698012eaa526dcc83f841b85a3f4952eea4c9445c83e0346f8e80",
                folder: "openvino/libs/",
                members: &[
                    "openvino.dll",
                    "openvino_onnx_frontend.dll",
                    "openvino_intel_cpu_plugin.dll",
                    "openvino_intel_gpu_plugin.dll",
                    "openvino_intel_npu_plugin.dll",
                    "tbb12.dll",
                ],
            },
        ],
    ),
    npm(Provider::WebGpu, LINUX, NODE_LINUX),
    npm(Provider::WebGpu, MACOS, NODE_MACOS),
    npm(Provider::WebGpu, WINDOWS, NODE_WINDOWS),
    npm(Provider::WebGpu, WINDOWS_ARM, NODE_WINDOWS_ARM),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_complete() {
        for package in PACKAGES {
            assert!(package.provider.systems().contains(&package.system.0), "{package:?}");
            assert!(!package.archives.is_empty());
            for archive in package.archives {
                assert!(
                    archive.sha256.len() == 64 && archive.sha256.bytes().all(|b| b.is_ascii_hexdigit()),
                    "{archive:?}"
                );
                assert!(
                    archive.file.starts_with(&archive.name.replace('-', "_")) || package.client == Client::Npm,
                    "{archive:?}"
                );
                assert!(archive.file.contains(archive.version) && archive.file.contains(archive.tag), "{archive:?}");
                assert!(archive.folder.ends_with('/') && !archive.members.is_empty(), "{archive:?}");
            }
        }
    }

    #[test]
    fn every_version_can_be_loaded() {
        for package in PACKAGES {
            let minor: u32 = package.version().split('.').nth(1).unwrap().parse().unwrap();
            assert!(minor >= ort::MINOR_VERSION, "{package:?}");
        }
    }

    #[test]
    fn providers_that_come_with_another_are_found() {
        let names = |provider, system| packages(provider, system).map(Package::name).collect::<Vec<_>>();
        assert_eq!(names(Provider::TensorRt, LINUX), ["onnxruntime-gpu"]);
        assert_eq!(names(Provider::CoreMl, MACOS), ["onnxruntime", "onnxruntime-node"]);
        assert_eq!(names(Provider::CoreMl, LINUX), [""; 0]);
        assert_eq!(names(Provider::Cuda, MACOS), [""; 0]);
        assert_eq!(names(Provider::Cpu, ("linux", "riscv64")), [""; 0]);
    }
}
