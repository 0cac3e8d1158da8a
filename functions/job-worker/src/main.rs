//! The Lambda function `job-worker`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::handle(job_worker::from_env, job_worker::work).await
}
