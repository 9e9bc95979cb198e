//! An API server with controllers and no nodes, started by `tests/cluster/api.sh`.

use std::{
    io::{BufRead as _, BufReader, Seek as _, SeekFrom},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;

use super::access::Access;
use crate::source_tree;

/// A running API server. It ends with the end of its standard input, so it never outlives the tests.
#[derive(Debug)]
pub struct ApiServer {
    _child: Child,
    folder: PathBuf,
}

/// The one server of this test program, or why there is none.
static SHARED: LazyLock<Mutex<Option<Result<&'static ApiServer, String>>>> =
    LazyLock::new(|| Mutex::new(None));

impl ApiServer {
    /// The server that all tests of this program share; started at first use, with the CRD in it.
    ///
    /// # Errors
    /// When it cannot be started; with what its script said.
    pub fn shared() -> Result<&'static Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let server = shared.get_or_insert_with(|| match Self::start() {
            Ok(server) => Ok(Box::leak(Box::new(server))),
            Err(error) => Err(format!("{error:#}")),
        });
        server.clone().map_err(|error| anyhow!(error))
    }

    /// A server of the caller's own, with nothing in it. It ends when this is dropped.
    ///
    /// # Errors
    /// When it cannot be started; with what its script said.
    pub fn own() -> Result<Self> {
        Self::start()
    }

    fn start() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("wsc-tests-api-{}-{number}", std::process::id()));
        let script = source_tree::root().join("tests/cluster/api.sh");
        let mut child = Command::new(&script)
            .arg("run")
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", script.display()))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let ready = BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .any(|line| line.starts_with("export KUBECONFIG="));
        if !ready {
            let status = child.wait()?;
            return Err(anyhow!("tests/cluster/api.sh run ended with {status}; its messages are above"));
        }
        Ok(Self { _child: child, folder })
    }

    /// How to reach it.
    #[must_use]
    pub fn access(&self) -> Access {
        Access { kubeconfig: Some(self.folder.join("kubeconfig")), context: None }
    }

    /// What the API server was asked about a namespace, oldest first: the audit log at level Metadata.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn audit(&self, namespace: &str) -> Result<Vec<Value>> {
        self.audited(namespace, |event| event["objectRef"]["namespace"] == namespace)
    }

    /// What somebody asked the API server, oldest first.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn audit_of(&self, user: &str) -> Result<Vec<Value>> {
        self.audited(user, |event| event["user"]["username"] == user)
    }

    fn audited(&self, word: &str, wanted: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
        self.audited_from(&mut 0, word, wanted)
    }

    /// The same as [`Self::audit`], but only what came after `offset`, which moves on: the log of many tests is long.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn audit_from(&self, offset: &mut u64, namespace: &str) -> Result<Vec<Value>> {
        self.audited_from(offset, namespace, |event| event["objectRef"]["namespace"] == namespace)
    }

    fn audited_from(
        &self,
        offset: &mut u64,
        word: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Vec<Value>> {
        const UNREADABLE: &str = "cannot read the audit log";
        let mut file = std::fs::File::open(self.folder.join("audit.log")).context(UNREADABLE)?;
        file.seek(SeekFrom::Start(*offset)).context(UNREADABLE)?;
        let mut found = Vec::new();
        let mut log = BufReader::with_capacity(1 << 20, file);
        let mut line = String::new();
        // The last line may be half written.
        while log.read_line(&mut line).context(UNREADABLE)? > 0 && line.ends_with('\n') {
            *offset += u64::try_from(line.len())?;
            if line.contains(word) {
                found.extend(serde_json::from_str::<Value>(&line).ok().filter(&wanted));
            }
            line.clear();
        }
        Ok(found)
    }
}
