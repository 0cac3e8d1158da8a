//! Feedback on results.

use crate::{
    governance::{
        auth::Caller,
        feedback::{self, Feedback, Origin, Subject, SubjectType},
    },
    insights::results,
    platform::{db::Db, error::Result},
};

pub(super) async fn set(
    db: &Db,
    caller: &Caller,
    id: i64,
    feedback: Option<&Feedback>,
) -> Result<()> {
    let mut tx = db.transaction().await?;
    let result = results::find_readable(&mut tx, caller, id).await?;
    let subject = Subject {
        kind: SubjectType::Insight,
        id,
    };
    let origin = Origin {
        app: result.app,
        prompt_version: result.prompt_version,
        run_id: result.run_id,
    };
    feedback::set(&mut tx, caller, subject, &origin, feedback).await?;
    tx.commit().await?;
    Ok(())
}
