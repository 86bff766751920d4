//! Which files of the server's machine a submitted job may name: those below its own folder, by relative paths, and those
//! below folders that the server's operator allows. Whoever may submit a job must not get to read or write anything
//! else, nor to run anything.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use tidewright_jobs::Compiled;
use tidewright_jobs::job::{KafkaProperties, RedisTlsConfig, SinkConfig, SourceConfig};

/// Settings of librdkafka that load libraries or run commands.
const RUNS_CODE: [&str; 5] = [
    "plugin.library.paths",
    "sasl.kerberos.kinit.cmd",
    "ssl.engine.location",
    "ssl.engine.id",
    "ssl.providers",
];
/// Endings of the names of its settings that name files.
const NAMES_A_FILE: [&str; 5] = [".location", ".file", ".keytab", ".path", ".paths"];

/// The folders that jobs may use besides their own.
#[derive(Clone, Debug, Default)]
pub struct AllowedFiles(Vec<PathBuf>);

impl AllowedFiles {
    /// Allows everything below these folders.
    ///
    /// # Errors
    /// If one of them is not there.
    pub fn new(folders: &[PathBuf]) -> io::Result<Self> {
        let resolve = |folder: &PathBuf| {
            folder.canonicalize().map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", folder.display()))
            })
        };
        Ok(Self(
            folders.iter().map(resolve).collect::<io::Result<_>>()?,
        ))
    }

    /// The absolute path of a file that a job names, if it may.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check(&self, job_folder: &Path, path: &str) -> Result<PathBuf, String> {
        let named = Path::new(path);
        if named.is_absolute() {
            return self.check_shared(path);
        }
        let resolved = resolve_below(job_folder, named).map_err(|reason| refused(path, &reason))?;
        match resolve(job_folder) {
            Ok(own) if resolved.starts_with(&own) => Ok(resolved),
            _ => Err(refused(path, "leads out of the job's folder")),
        }
    }

    /// The place of a savepoint that a job may begin with: in an object store, below the folder of a job of this server, or
    /// below an allowed folder.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check_savepoint(&self, jobs: &Path, url: &str) -> Result<(), String> {
        let path = match url.split_once("://") {
            Some(("s3", _)) => return Ok(()),
            Some(("file", path)) => path,
            _ => {
                return Err(format!(
                    "{url} is no place of a savepoint: file:///path or s3://bucket/prefix is"
                ));
            }
        };
        let shared = self.check_shared(path);
        if shared.is_err()
            && Path::new(path).is_absolute()
            && let (Ok(place), Ok(jobs)) = (
                resolve_below(Path::new("/"), Path::new(path)),
                resolve(jobs),
            )
            && place.starts_with(jobs)
        {
            return Ok(());
        }
        shared.map(drop).map_err(|reason| {
            format!("{reason}. A savepoint may also be below the folder of a job of this server")
        })
    }

    /// The path of a file in one of the allowed folders.
    ///
    /// # Errors
    /// If it is in none of them.
    pub fn check_shared(&self, path: &str) -> Result<PathBuf, String> {
        let named = Path::new(path);
        if named.is_relative() {
            return Err(refused(path, "is no absolute path"));
        }
        let resolved =
            resolve_below(Path::new("/"), named).map_err(|reason| refused(path, &reason))?;
        if self.0.iter().any(|allowed| resolved.starts_with(allowed)) {
            return Ok(resolved);
        }
        Err(refused(path, "is in none of the folders that jobs may use"))
    }

    /// Everything that a compiled job names and may not.
    #[must_use]
    pub fn refusals(&self, job_folder: &Path, compiled: &Compiled) -> Vec<String> {
        let mut refusals = Vec::new();
        let mut check = |what: &str, path: &str| {
            if let Err(reason) = self.check(job_folder, path) {
                refusals.push(format!("{what}: {reason}"));
            }
        };
        for source in &compiled.plan.sources {
            if let SourceConfig::Files(files) = &source.config {
                check(&format!("source {}", source.name), &files.path);
            }
        }
        for sink in &compiled.plan.sinks {
            match &sink.config {
                SinkConfig::Files(files) => check(&format!("sink {}", sink.name), &files.path),
                SinkConfig::Embedded(store) => check(&format!("sink {}", sink.name), &store.path),
                SinkConfig::Redis(redis) => {
                    for (key, file) in redis.tls.iter().flat_map(RedisTlsConfig::files) {
                        check(&format!("sink {}: tls.{key}", sink.name), file);
                    }
                }
                _ => {}
            }
        }
        if let Some(path) = compiled.job.checkpoint.store.strip_prefix("file://") {
            check("checkpoint.store", path);
        }
        if let Some(folder) = compiled
            .job
            .state
            .as_ref()
            .and_then(|state| state.directory.as_deref())
        {
            check("state.directory", folder);
        }
        for (owner, properties) in kafka_properties(compiled) {
            for (name, value) in properties {
                if RUNS_CODE.contains(&name.as_str()) {
                    refusals.push(format!(
                        "{owner}: the property `{name}` runs code of the machine, which a job on a server may not"
                    ));
                } else if NAMES_A_FILE.iter().any(|ending| name.ends_with(ending))
                    && let Err(reason) = self.check(job_folder, value)
                {
                    refusals.push(format!("{owner}: property `{name}`: {reason}"));
                }
            }
        }
        refusals
    }
}

/// The client settings of all Kafka sources and sinks, with whose they are.
fn kafka_properties(compiled: &Compiled) -> Vec<(String, &KafkaProperties)> {
    let sources = compiled.plan.sources.iter().filter_map(|source| {
        let SourceConfig::Kafka(kafka) = &source.config else {
            return None;
        };
        Some((format!("source {}", source.name), &kafka.properties))
    });
    let sinks = compiled.plan.sinks.iter().filter_map(|sink| {
        let SinkConfig::Kafka(kafka) = &sink.config else {
            return None;
        };
        Some((format!("sink {}", sink.name), &kafka.properties))
    });
    sources.chain(sinks).collect()
}

fn refused(path: &str, reason: &str) -> String {
    format!(
        "{path} {reason}. The sources, sinks and checkpoints of a job on a server may be below its own folder, by relative \
         paths, or below the folders that `tidewright serve --allow-files DIR` names; what `${{file:..}}` reads only below the latter"
    )
}

fn resolve_below(folder: &Path, path: &Path) -> Result<PathBuf, String> {
    if path.components().any(|part| part == Component::ParentDir) {
        return Err("leads out of its folder with `..`".to_owned());
    }
    resolve(&folder.join(path)).map_err(|error| format!("cannot be looked at ({error})"))
}

/// Follows symbolic links as far as the path exists; the rest is taken as it is.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut rest = Vec::new();
    let mut existing = path;
    loop {
        match existing.canonicalize() {
            Ok(resolved) => {
                return Ok(rest
                    .iter()
                    .rev()
                    .fold(resolved, |path, part| path.join(part)));
            }
            // A dangling link would be followed when the file is made.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !existing.is_symlink() => {
                let (Some(parent), Some(name)) = (existing.parent(), existing.file_name()) else {
                    return Err(error);
                };
                rest.push(name.to_owned());
                existing = parent;
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
