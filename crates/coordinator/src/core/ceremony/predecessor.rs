//! The key that another one is to take the place of.

use quorate_model::{Reason, Refusal, command::CreateKey, operation::CommandState};

use crate::core::Core;

impl Core {
    /// Checks the key in whose place another one is to be made, or says how the command ends. Nodes
    /// that hold the old key judge it again; those that do not leave it to others, so that nobody
    /// else may be there to say that there is none.
    pub(in crate::core) fn check_predecessor(
        &mut self,
        create: &CreateKey,
    ) -> Result<(), (CommandState, Refusal)> {
        let Some(before) = &create.life.replaces else {
            return Ok(());
        };
        let name = &before.key;
        let Some(known) = self.keys.get(&self.pinned, name) else {
            // Nodes may still list it.
            let state = if self.is_ready() {
                CommandState::Denied
            } else {
                CommandState::Failed
            };
            let message = format!("there is no key \"{name}\" whose place another one could take");
            let unknown = Refusal::new(Reason::KeyUnknown, message);
            return Err((state, unknown.with("key", name)));
        };
        create
            .check_replaced(&known.record)
            .map_err(|refusal| (CommandState::Denied, refusal))?;
        if known.proof.is_some() {
            return Ok(());
        }
        let message = format!(
            "key \"{name}\" was never active, and nothing can be moved from it: create a key instead"
        );
        let refusal = Refusal::new(Reason::KeyNotActive, message);
        Err((CommandState::Failed, refusal.with("key", name)))
    }
}
