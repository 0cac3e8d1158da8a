//! The Lambda function `chat-messages`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve(chat_messages::from_env).await
}
