//! The Lambda function `db-migrate`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::handle(db_migrate::from_env, db_migrate::migrate).await
}
