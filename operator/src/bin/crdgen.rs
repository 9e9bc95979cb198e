//! Writes the custom resource definition and its reference documentation.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use wsc_operator::api::{definition, reference_docs};

#[derive(Parser)]
#[command(
    name = "crdgen",
    version,
    about = "Prints the WscCluster custom resource definition as YAML, or its reference as Markdown"
)]
struct Arguments {
    /// Write wscclusters.wsc.dev.yaml into this directory instead of printing it.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["check", "docs"])]
    out: Option<PathBuf>,
    /// Compare with the file in this directory; exit 1 when it differs or is missing.
    #[arg(long, value_name = "DIR", conflicts_with = "docs")]
    check: Option<PathBuf>,
    /// Print the Markdown reference of all fields instead of the definition.
    #[arg(long)]
    docs: bool,
    /// Compare the Markdown reference with this file; exit 1 when it differs or is missing.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["out", "check", "docs"])]
    check_docs: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(output) => write_all(&output),
        Err(error) => {
            let _ =
                std::io::Write::write_all(&mut std::io::stderr(), format!("crdgen: {error:#}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<String> {
    if let Some(file) = &arguments.check_docs {
        return compare(file, &reference_docs::markdown()?, "crdgen --docs");
    }
    if arguments.docs {
        return Ok(reference_docs::markdown()?);
    }
    let yaml = definition::yaml()?;
    if let Some(directory) = &arguments.check {
        return compare(&directory.join(definition::FILE_NAME), &yaml, "crdgen --out");
    }
    if let Some(directory) = &arguments.out {
        let file = directory.join(definition::FILE_NAME);
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        std::fs::write(&file, yaml).with_context(|| format!("cannot write {}", file.display()))?;
        return Ok(format!("wrote {}\n", file.display()));
    }
    Ok(yaml)
}

fn compare(file: &Path, wanted: &str, remedy: &str) -> anyhow::Result<String> {
    let found = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read {}; write it with {remedy}", file.display()))?;
    if found == wanted {
        return Ok(format!("{} is up to date\n", file.display()));
    }
    let line = found.lines().zip(wanted.lines()).take_while(|(old, new)| old == new).count();
    let at = |text: &str| text.lines().nth(line).unwrap_or("(end of file)").to_owned();
    bail!(
        "{} is out of date from line {} on:\n  found:  {}\n  wanted: {}\nwrite it anew with {remedy}",
        file.display(),
        line + 1,
        at(&found),
        at(wanted)
    )
}

/// A reader that stops early, such as `head`, is no failure.
fn write_all(text: &str) -> ExitCode {
    match std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
