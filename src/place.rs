//! From what a user writes to the URL of a folder.

use std::path::Path;

/// The URL of a path or URL; a relative path means a folder below the current one.
///
/// # Errors
/// If the current folder is gone.
pub fn url(place: &str) -> Result<String, String> {
    let path = match place.split_once("://") {
        None => place,
        Some(("file", path)) if !path.starts_with('/') => path,
        Some(_) => return Ok(place.to_owned()),
    };
    let path = std::path::absolute(Path::new(path))
        .map_err(|error| format!("{place:?} names no place: {error}"))?;
    Ok(format!("file://{}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::url;

    #[test]
    fn paths_become_absolute_urls() {
        let here = std::env::current_dir().expect("a folder");
        let below = format!("file://{}/a/b", here.display());
        assert_eq!(url("a/b"), Ok(below.clone()));
        assert_eq!(url("file://a/b"), Ok(below));
        for absolute in ["file:///a", "s3://bucket/prefix", "gs://other"] {
            assert_eq!(url(absolute), Ok(absolute.to_owned()));
        }
        assert_eq!(url("/a"), Ok("file:///a".to_owned()));
        assert!(url("").is_err());
    }
}
