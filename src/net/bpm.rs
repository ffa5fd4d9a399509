//! What bpm hides from the process.
//!
//! Under bpm a BOSH job sees the system's folders, its own ones, and what its `bpm.yml` mounts; of other jobs' folders nothing
//! else. A certificate that another job's announcement names is then missing, though it lies on the VM for everybody to see.
//! bpm tells the process nothing about that, so the job's templates do: [`VOLUMES`] lists what is shown. This module says of a
//! path whether it is hidden, inside the container and, for `promferry check` in a pre-start script, outside of it.

use std::env;
use std::ffi::OsStr;
use std::path::{Component, Path};

use globset::GlobBuilder;

/// The variable in which the BOSH job lists the paths and globs below `/var/vcap` that bpm shows, with `:` between them. Unset
/// anywhere else.
pub const VOLUMES: &str = "PROMFERRY_BPM_VOLUMES";

/// Where BOSH keeps the files of jobs; what is elsewhere is the system's, which bpm shows.
const ROOT: &str = "/var/vcap";

/// Bytes of [`VOLUMES`] that are looked at, at most.
const VOLUMES_BYTES_MAX: usize = 64 << 10;

/// What an operator can do about a hidden file.
pub const REMEDY: &str = "not visible under bpm: add it to the property bpm.volumes of the job promferry";

/// Whether the process runs, or will run, under bpm, and bpm does not show it this path.
pub fn hides(path: &Path) -> bool {
    env::var(VOLUMES).is_ok_and(|shown| is_hidden(path, &shown))
}

/// Whether what is listed in `shown` tells that the templates of a BOSH job started this.
pub fn is_there() -> bool {
    env::var_os(VOLUMES).is_some()
}

fn is_hidden(path: &Path, shown: &str) -> bool {
    let is_listed = || {
        let shown = shown.get(..VOLUMES_BYTES_MAX).unwrap_or(shown);
        shown.split(':').filter(|glob| glob.starts_with('/')).any(|glob| is_within(path, Path::new(glob)))
    };
    path.starts_with(ROOT) && !is_listed()
}

/// Whether the glob matches the path or a folder that it is in, name by name, as Go's `filepath.Glob` does.
fn is_within(path: &Path, glob: &Path) -> bool {
    // What leads out of a folder again is in none.
    if path.components().any(|part| part == Component::ParentDir) {
        return false;
    }
    let mut names = path.components();
    glob.components().all(|pattern| names.next().is_some_and(|name| matches(pattern.as_os_str(), name.as_os_str())))
}

fn matches(pattern: &OsStr, name: &OsStr) -> bool {
    let glob = pattern.to_str().and_then(|text| GlobBuilder::new(text).literal_separator(true).build().ok());
    pattern == name || glob.is_some_and(|glob| glob.compile_matcher().is_match(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_visible_below_the_folder_of_bosh() {
        let shown = "/var/vcap/jobs/promferry:/var/vcap/packages:/var/vcap/jobs/*/config/prom_scraper_config.yml:\
            /var/vcap/jobs/gorouter/config/certs/scrape_*.crt::relative";
        for (path, expected) in [
            ("/var/vcap/jobs/promferry/config/certs/scrape.key", false),
            ("/var/vcap/jobs/promferry-else/config/x.crt", true),
            ("/var/vcap/jobs/other/config/prom_scraper_config.yml", false),
            ("/var/vcap/jobs/other/config/certs/x.crt", true),
            ("/var/vcap/jobs/other/deep/config/prom_scraper_config.yml", true),
            ("/var/vcap/jobs/gorouter/config/certs/scrape_ca.crt", false),
            ("/var/vcap/jobs/gorouter/config/certs/scrape_ca.key", true),
            ("/var/vcap/jobs/gorouter", true),
            ("/var/vcap/jobs/promferry/../gorouter/x.crt", true),
            ("/etc/ssl/certs/ca-certificates.crt", false),
            ("certs/ca.crt", false),
        ] {
            assert_eq!(is_hidden(Path::new(path), shown), expected, "{path}");
        }
        assert!(is_hidden(Path::new("/var/vcap/jobs/a/x"), ""));
        assert!(
            !is_hidden(Path::new("/var/vcap/jobs/a/x"), "/var/vcap/[:/var/vcap/jobs/?"),
            "a glob that is none matches nothing"
        );
    }
}
