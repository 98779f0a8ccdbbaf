use super::*;

const MEMBERS: &[&str] = &["libonnxruntime.so.1.30.0", "part.so"];

/// A package of one archive, whose hash is what it is.
fn package(client: Client, file: &'static str, bytes: &[u8]) -> &'static Package {
    let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let archive = Archive {
        name: "onnxruntime",
        version: "1.30.0",
        tag: "",
        file,
        bytes: bytes.len() as u64,
        sha256: hash.leak(),
        folder: "a/b/",
        members: MEMBERS,
    };
    let archives: &'static [Archive] = vec![archive].leak();
    Box::leak(Box::new(Package { provider: Provider::Cpu, system: ("linux", "x86_64"), client, archives }))
}

fn wheel(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = rawzip::ZipArchiveWriter::new(&mut bytes);
    for (name, data) in members {
        let method = CompressionMethod::DEFLATE;
        let (mut entry, config) = archive.new_file(name).compression_method(method).start().unwrap();
        let packed = flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::default());
        let mut writer = config.wrap(packed);
        writer.write_all(data).unwrap();
        let (packed, end) = writer.finish().unwrap();
        packed.finish().unwrap();
        entry.finish(end).unwrap();
    }
    archive.finish().unwrap();
    bytes
}

fn tarball(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default()));
    for (name, data) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        archive.append_data(&mut header, name, *data).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

/// Assembles an installation of these bytes over one that is there, and gives the error and what is there then.
fn check_refused(package: &'static Package, bytes: &[u8], expected: &str) {
    let home = tempfile::tempdir().unwrap();
    let (work, current) = (home.path().join("work"), home.path().join(FOLDER));
    fs::create_dir(&work).unwrap();
    fs::create_dir(&current).unwrap();
    fs::write(current.join(NAMES[0]), "the one before").unwrap();
    fs::write(work.join(package.archives[0].file), bytes).unwrap();

    let error = assemble(Provider::Cpu, package, home.path(), &work, &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
    assert!(error.ends_with("nothing was installed"), "{error}");
    assert_eq!(fs::read(current.join(NAMES[0])).unwrap(), b"the one before");
}

fn check_unpacked(client: Client, file: &'static str, bytes: &[u8]) {
    let package = package(client, file, bytes);
    let folder = tempfile::tempdir().unwrap();
    let (path, to) = (folder.path().join(file), folder.path().join("to"));
    fs::write(&path, bytes).unwrap();
    fs::create_dir(&to).unwrap();
    let mut steps = Vec::new();
    let n = unpack(package, &package.archives[0], &path, &to, &mut |step| steps.push(step)).unwrap();
    assert_eq!(n, 7);
    assert_eq!(steps, [Step::Unpacking("part.so"), Step::Unpacking("libonnxruntime.so.1.30.0")]);
    assert_eq!(fs::read(to.join(NAMES[0])).unwrap(), b"main");
    assert_eq!(fs::read(to.join("part.so")).unwrap(), b"one");
    assert_eq!(fs::read_dir(&to).unwrap().count(), 2);
}

#[test]
fn only_what_is_needed_is_unpacked() {
    let members: &[(&str, &[u8])] = &[
        ("a/b/../../../evil.so", b"evil"),
        ("part.so", b"not this one"),
        ("a/b/part.so", b"one"),
        ("a/b/other.so", b"not needed"),
        ("a/b/libonnxruntime.so.1.30.0", b"main"),
    ];
    check_unpacked(Client::Pip, "x.whl", &wheel(members));
    check_unpacked(Client::Npm, "x.tgz", &tarball(&members[1..]));
}

#[test]
fn another_file_than_the_pinned_one_is_refused() {
    let bytes = wheel(&[("a/b/part.so", b"one")]);
    let package = package(Client::Pip, "x.whl", &bytes);
    check_refused(package, &bytes[1..], "x.whl has sha256 ");
    check_refused(package, &bytes, "x.whl holds no a/b/libonnxruntime.so.1.30.0");
}

#[test]
fn a_library_that_does_not_load_is_refused() {
    let bytes = tarball(&[("a/b/part.so", b"one"), ("a/b/libonnxruntime.so.1.30.0", b"main")]);
    check_refused(package(Client::Npm, "x.tgz", &bytes), &bytes, "onnxruntime 1.30.0 does not run on this machine: ");
}

#[test]
fn what_is_installed_is_told() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(installed(home.path()), None);
    let folder = home.path().join(FOLDER);
    let one = Installed {
        provider: Provider::Cuda,
        package: "onnxruntime-gpu".into(),
        version: "1.30.0".into(),
        client: Client::Pip,
        bytes: 7,
        library: folder.join(NAMES[0]),
    };
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(MANIFEST), serde_json::to_vec(&one).unwrap()).unwrap();
    assert_eq!(installed(home.path()), None);
    fs::write(&one.library, "").unwrap();
    assert_eq!(installed(home.path()), Some(one));
}

#[test]
fn a_folder_takes_the_place_of_another() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    for (name, text) in [("first", "1"), ("second", "2")] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("file"), text).unwrap();
        replace(&at("current"), &at(name), &at("old")).unwrap();
        assert_eq!(fs::read_to_string(at("current").join("file")).unwrap(), text);
    }
    assert_eq!(fs::read_to_string(at("old").join("file")).unwrap(), "1");
    assert!(replace(&at("current"), &at("nowhere"), &at("older")).is_err());
    assert_eq!(fs::read_to_string(at("current").join("file")).unwrap(), "2");
}

#[test]
fn errors_say_what_to_do() {
    let error = InstallError::NoPackage { provider: Provider::Xnnpack }.to_string();
    assert!(error.starts_with("xnnpack cannot be installed: no package for "), "{error}");
    let clients = vec![Client::Pip, Client::Npm];
    let error = InstallError::NoClient { clients, package: "onnxruntime", version: "1.30.0" }.to_string();
    assert_eq!(
        error,
        "pip or npm fetches onnxruntime 1.30.0, and is not here: install Python or Node.js, or get ONNX Runtime 1.30.0 by other means and set ORT_DYLIB_PATH to its library"
    );
}
