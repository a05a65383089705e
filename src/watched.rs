//! A file that is read again when it changes.
//!
//! The kubelet replaces the files of a ConfigMap or Secret by swapping a symlink. A watch on such a
//! file fires once or never. So this process reads the files that it follows every few seconds, and
//! compares their contents.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a file is read again. A change takes effect within 15 s, also on a busy machine.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// A file, and its contents when it was last read.
pub(crate) struct WatchedFile<T> {
    path: PathBuf,
    read: fn(&Path) -> io::Result<T>,
    contents: Result<T, String>,
}

impl<T: PartialEq + Send + 'static> WatchedFile<T> {
    /// A file that was not read yet, so the first read is a change.
    pub(crate) fn new(path: PathBuf, read: fn(&Path) -> io::Result<T>) -> Self {
        Self { path, read, contents: Err("the file was not read yet".to_owned()) }
    }

    /// Reads the file in the calling thread, as is fine at start.
    pub(crate) fn read(&mut self) {
        self.contents = (self.read)(&self.path).map_err(|error| error.to_string());
    }

    /// Reads the file again, in a thread that may block. Returns whether the contents differ.
    pub(crate) async fn read_again(&mut self) -> bool {
        let (path, read) = (self.path.clone(), self.read);
        let contents = match tokio::task::spawn_blocking(move || read(&path)).await {
            Ok(contents) => contents.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let is_changed = self.contents != contents;
        self.contents = contents;
        is_changed
    }

    /// The contents when the file was last read, or why it could not be read.
    pub(crate) fn contents(&self) -> Result<&T, &str> {
        self.contents.as_ref().map_err(String::as_str)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[tokio::test]
    async fn another_content_is_a_change_and_another_file_with_the_same_content_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let link = path("link");
        // As the kubelet does it.
        let swap = |target: &str| {
            symlink(path(target), path("new")).unwrap();
            fs::rename(path("new"), &link).unwrap();
        };
        for (name, contents) in [("first", "a"), ("second", "a"), ("third", "b")] {
            fs::write(path(name), contents).unwrap();
        }
        swap("first");
        let mut file = WatchedFile::new(link.clone(), |path| fs::read_to_string(path));
        assert_eq!(file.path(), link);
        assert_eq!(file.contents(), Err("the file was not read yet"));
        let no_such_file = "No such file or directory (os error 2)";
        for (target, is_changed, contents) in [
            ("first", true, Ok("a")),
            ("first", false, Ok("a")),
            ("second", false, Ok("a")),
            ("third", true, Ok("b")),
            ("third", false, Ok("b")),
            ("missing", true, Err(no_such_file)),
            ("missing", false, Err(no_such_file)),
            ("first", true, Ok("a")),
        ] {
            swap(target);
            assert_eq!(file.read_again().await, is_changed, "{target}");
            assert_eq!(file.contents().map(String::as_str), contents, "{target}");
        }
    }

    #[tokio::test]
    async fn what_was_read_at_start_is_no_change_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "a").unwrap();
        let mut file = WatchedFile::new(path, |path| fs::read_to_string(path));
        file.read();
        assert_eq!(file.contents(), Ok(&"a".to_owned()));
        assert!(!file.read_again().await);
    }
}
