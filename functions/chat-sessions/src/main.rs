//! The Lambda function `chat-sessions`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve(chat_sessions::from_env).await
}
