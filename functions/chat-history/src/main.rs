//! The Lambda function `chat-history`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve(chat_history::from_env).await
}
