//! Checkpoints in an S3-compatible object store.
//!
//! HEAD moves by conditional puts: `If-None-Match: *` for the first, `If-Match` with the entity tag for all others. A put answered
//! with an error may have happened, unless the answer itself says that it was refused.

use std::{fmt, future::Future, io, ops::Range, time::Duration};

use object_store::{
    Error as ObjectError, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    RetryConfig, UpdateVersion,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
};
use tokio::runtime::{Builder, Runtime};

use super::{CheckpointStore, Listed, StoreError, SwapError};
use crate::{
    head::{Head, Tag},
    paths,
};

/// Checkpoints below a prefix of a bucket.
///
/// It drives its client on a small runtime of its own; so its calls must not be made from asynchronous code.
pub struct S3Store {
    client: AmazonS3,
    runtime: Runtime,
    bucket: String,
    prefix: String,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("S3Store").field(&self.location()).finish()
    }
}

impl S3Store {
    /// Opens `bucket/prefix` with endpoint, region and credentials from the `AWS_*` variables of the environment. Does not
    /// connect yet.
    ///
    /// # Errors
    /// If the settings do not make a client.
    pub fn open(bucket_and_prefix: &str) -> Result<Self, StoreError> {
        let (bucket, prefix) = bucket_and_prefix
            .split_once('/')
            .unwrap_or((bucket_and_prefix, ""));
        let failed = |error| StoreError::determinate("open", bucket_and_prefix, error);
        let retries = RetryConfig {
            max_retries: 3,
            retry_timeout: Duration::from_secs(20),
            ..RetryConfig::default()
        };
        let client = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_allow_http(true)
            .with_retry(retries)
            .build()
            .map_err(|error| failed(Box::<dyn std::error::Error + Send + Sync>::from(error)))?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error: io::Error| failed(error.into()))?;
        Ok(Self {
            client,
            runtime,
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
        })
    }

    fn path(&self, name: &str) -> Path {
        Path::from(format!("{}/{name}", self.prefix))
    }

    fn wait<T>(&self, request: impl Future<Output = T>) -> T {
        self.runtime.block_on(request)
    }

    fn fetch(&self, name: &str) -> Result<(Vec<u8>, Option<String>), StoreError> {
        let path = self.path(name);
        let request = async {
            let found = self.client.get(&path).await?;
            let tag = found.meta.e_tag.clone();
            Ok::<_, ObjectError>((found.bytes().await?.to_vec(), tag))
        };
        self.wait(request).map_err(|error| read_error(name, error))
    }
}

fn read_error(name: &str, error: ObjectError) -> StoreError {
    match error {
        ObjectError::NotFound { .. } => StoreError::NotFound {
            name: name.to_owned(),
        },
        error => StoreError::determinate("read", name, error),
    }
}

impl CheckpointStore for S3Store {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name);
        let payload = PutPayload::from(bytes.to_vec());
        match self.wait(self.client.put(&path, payload)) {
            Ok(_) => Ok(()),
            Err(error) => Err(write_error("write", name, error)),
        }
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        self.fetch(name).map(|(bytes, _)| bytes)
    }

    fn get_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        if range.is_empty() {
            // HTTP has no empty ranges.
            let path = self.path(name);
            let found = self.wait(self.client.head(&path));
            return found
                .map(|_| Vec::new())
                .map_err(|error| read_error(name, error));
        }
        let path = self.path(name);
        let read = self.wait(self.client.get_range(&path, range.clone()));
        let bytes = read.map_err(|error| read_error(name, error))?.to_vec();
        // Of a range that lies partly outside, a store gives what there is.
        match bytes.len() as u64 == range.end - range.start {
            true => Ok(bytes),
            false => Err(StoreError::outside(name, range)),
        }
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        match self.wait(self.client.delete(&path)) {
            Ok(()) | Err(ObjectError::NotFound { .. }) => Ok(()),
            Err(error) => Err(write_error("delete", name, error)),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        let path = self.path(folder);
        let found = self
            .wait(self.client.list_with_delimiter(Some(&path)))
            .map_err(|error| StoreError::determinate("list", folder, error))?;
        let objects = found.objects.into_iter().filter_map(|object| {
            let file = object.location.filename()?;
            Some(Listed {
                name: format!("{folder}{file}"),
                bytes: object.size,
                modified_ms: object
                    .last_modified
                    .timestamp_millis()
                    .try_into()
                    .unwrap_or(0),
            })
        });
        let mut listed: Vec<_> = objects.collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    fn head(&self) -> Result<Option<(Head, Tag)>, StoreError> {
        match self.fetch(paths::HEAD) {
            Ok((bytes, Some(tag))) => Ok(Some((Head::from_bytes(&bytes)?, Tag(tag)))),
            Ok((_, None)) => Err(no_tag()),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn swap_head(&self, expected: Option<&Tag>, new: &Head) -> Result<Tag, SwapError> {
        let mode = match expected {
            None => PutMode::Create,
            Some(Tag(tag)) => PutMode::Update(UpdateVersion {
                e_tag: Some(tag.clone()),
                version: None,
            }),
        };
        let path = self.path(paths::HEAD);
        let payload = PutPayload::from(new.to_bytes()?);
        let options = PutOptions::from(mode);
        match self.wait(self.client.put_opts(&path, payload, options)) {
            Ok(written) => Ok(Tag(written.e_tag.ok_or_else(no_tag)?)),
            Err(
                ObjectError::AlreadyExists { .. }
                | ObjectError::Precondition { .. }
                | ObjectError::NotFound { .. },
            ) => Err(SwapError::Lost { current: None }),
            Err(error) => Err(write_error("swap", paths::HEAD, error).into()),
        }
    }

    fn location(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix)
    }
}

fn no_tag() -> StoreError {
    StoreError::indeterminate("swap", paths::HEAD, "the store gives no entity tags")
}

/// Refusals are certain; of everything else the effect is unknown.
fn write_error(action: &'static str, name: &str, error: ObjectError) -> StoreError {
    match error {
        ObjectError::NotFound { .. }
        | ObjectError::InvalidPath { .. }
        | ObjectError::NotSupported { .. }
        | ObjectError::NotImplemented { .. }
        | ObjectError::PermissionDenied { .. }
        | ObjectError::Unauthenticated { .. } => StoreError::determinate(action, name, error),
        error => StoreError::indeterminate(action, name, error),
    }
}
