//! The scripts: each changes everything that belongs to a step at once, so nobody sees half of one.

use std::sync::OnceLock;

use redis::Cmd;

/// A script, sent by its digest unless the server does not know it yet.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    digest: OnceLock<String>,
}

pub(super) static ENQUEUE: Script = Script::new(include_str!("scripts/enqueue.lua"));
pub(super) static CLAIM: Script = Script::new(include_str!("scripts/claim.lua"));
pub(super) static EXTEND: Script = Script::new(include_str!("scripts/extend.lua"));
pub(super) static SETTLE: Script = Script::new(include_str!("scripts/settle.lua"));
pub(super) static ABORT: Script = Script::new(include_str!("scripts/abort.lua"));
pub(super) static ABORTED: Script = Script::new(include_str!("scripts/aborted.lua"));
pub(super) static GET: Script = Script::new(include_str!("scripts/get.lua"));
pub(super) static LIST: Script = Script::new(include_str!("scripts/list.lua"));
pub(super) static REVIVE: Script = Script::new(include_str!("scripts/revive.lua"));
pub(super) static HEALTH: Script = Script::new(include_str!("scripts/health.lua"));

/// How a script is sent.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Digest,
    /// After which the server knows it.
    Text,
}

impl Script {
    const fn new(text: &'static str) -> Self {
        Self {
            text,
            digest: OnceLock::new(),
        }
    }

    pub(super) fn command(&self, form: Form, keys: &[&str]) -> Cmd {
        let mut command = match form {
            Form::Digest => {
                let digest = self
                    .digest
                    .get_or_init(|| redis::Script::new(self.text).get_hash().to_owned());
                let mut command = redis::cmd("EVALSHA");
                command.arg(digest);
                command
            }
            Form::Text => {
                let mut command = redis::cmd("EVAL");
                command.arg(self.text);
                command
            }
        };
        command.arg(keys.len()).arg(keys);
        command
    }
}
