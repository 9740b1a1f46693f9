//! Compiles the .proto files with a compiler of its own language, so that no `protoc` is needed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const PUBLIC: [&str; 6] = [
    "quorate/v1/audit_service.proto",
    "quorate/v1/cluster_service.proto",
    "quorate/v1/command.proto",
    "quorate/v1/command_service.proto",
    "quorate/v1/key_service.proto",
    "quorate/v1/node_service.proto",
];
const NODE: &str = "quorate/node/v1/node_service.proto";

fn main() -> Result<(), Box<dyn Error>> {
    let protos = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed={}", protos.display());

    // Reflection shows the public API only.
    let public = protox::compile(PUBLIC, [&protos])?;
    fs::write(out.join("quorate_v1.bin"), public.encode_to_vec())?;

    let all = protox::compile(PUBLIC.into_iter().chain([NODE]), [&protos])?;
    let mut bare = all.clone();
    for file in &mut bare.file {
        file.source_code_info = None;
    }
    fs::write(out.join("all.bin"), bare.encode_to_vec())?;
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .build_transport(false)
        .codec_path("crate::codec::BoundedCodec")
        .extern_path(".google.api", "::prost_types")
        .compile_fds_with_config(all, config)?;
    Ok(())
}
