//! The Lambda function `admin-jobs`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve(admin_jobs::from_env).await
}
