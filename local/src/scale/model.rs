//! The load of a number of messages, the use of each resource and the cost. Pure functions; the
//! unit is in each name.

use clap::Args;

use super::measured::{
    CHECKPOINT_SECONDS, COMMITS_PER_REPLY, CONVERSATION_BYTES, CPU_PER_STATEMENT_TIME,
    MESSAGE_BYTES, Measured, RUN_BYTES, WAL_BYTES_PER_CHECKPOINT, WAL_BYTES_PER_REPLY,
};

/// Hours and days of an average month, as AWS computes them.
const HOURS_PER_MONTH: f64 = 730.0;
const DAYS_PER_MONTH: f64 = HOURS_PER_MONTH / 24.0;
const SECONDS_PER_DAY: f64 = 86_400.0;
const DAYS_PER_YEAR: f64 = 365.0;
const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1_073_741_824.0;

/// What users do, and how much each message takes. Assumptions, unless noted.
#[derive(Args, Clone, Debug)]
pub struct Load {
    /// Questions of users per day; each has one reply
    #[arg(long, value_name = "N", default_value_t = 1_000_000.0, value_parser = positive)]
    pub messages_per_day: f64,
    /// Rate of the busiest hour, divided by the average rate of the day
    #[arg(long, value_name = "F", default_value_t = 5.0, value_parser = positive)]
    pub peak_factor: f64,
    /// Tokens of a reply
    #[arg(long, value_name = "N", default_value_t = 400.0, value_parser = positive)]
    pub reply_tokens: f64,
    /// Seconds from the question to the end of its reply
    #[arg(long, value_name = "S", default_value_t = 20.0, value_parser = positive)]
    pub seconds_per_reply: f64,
    /// Tokens of a prompt: the application's own prompt, the history and the question
    #[arg(long, value_name = "N", default_value_t = 1500.0, value_parser = amount)]
    pub prompt_tokens: f64,
    /// Bytes of a question
    #[arg(long, value_name = "N", default_value_t = 120.0, value_parser = amount)]
    pub question_bytes: f64,
    /// Bytes of text per token. 0.59 tokens per Chinese character are 5 bytes per token
    #[arg(long, value_name = "N", default_value_t = 5.0, value_parser = positive)]
    pub bytes_per_token: f64,
    /// Bytes of an event of the stream besides its text
    #[arg(long, value_name = "N", default_value_t = 55.0, value_parser = amount)]
    pub event_bytes: f64,
    /// Other requests per message: lists of chats and messages
    #[arg(long, value_name = "N", default_value_t = 3.0, value_parser = amount)]
    pub reads_per_message: f64,
    /// Questions per conversation
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = positive)]
    pub messages_per_conversation: f64,
}

/// What is deployed, and its limits.
#[derive(Args, Clone, Debug)]
pub struct Sizing {
    /// Invocations of the account that may run at once (quota of AWS; new accounts start lower)
    #[arg(long, value_name = "N", default_value_t = 1000.0, value_parser = positive)]
    pub lambda_concurrency: f64,
    /// Memory of a standard function (`MemorySize` of the template)
    #[arg(long, value_name = "MIB", default_value_t = 512.0, value_parser = positive)]
    pub lambda_memory_mib: f64,
    /// Duration of another request, as Lambda bills it
    #[arg(long, value_name = "MS", default_value_t = 20.0, value_parser = amount)]
    pub read_duration_ms: f64,
    /// Streams in one environment of Lambda Managed Instances; AWS allows 1,600
    #[arg(long, value_name = "N", default_value_t = 64.0, value_parser = positive)]
    pub streams_per_environment: f64,
    /// vCPU of an environment; with the smallest memory, 2 GB, it is 1
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = positive)]
    pub vcpu_per_environment: f64,
    /// Connections that a standard instance uses (docs/operations.md)
    #[arg(long, value_name = "N", default_value_t = 2.0, value_parser = positive)]
    pub connections_per_instance: f64,
    /// Connections of a managed environment
    #[arg(long, value_name = "N", default_value_t = 4.0, value_parser = positive)]
    pub connections_per_environment: f64,
    /// Requests per second of one route (`ApiRateLimit` of the template)
    #[arg(long, value_name = "N", default_value_t = 2000.0, value_parser = positive)]
    pub route_requests_per_second: f64,
    /// Requests per second of the account (quota of API Gateway)
    #[arg(long, value_name = "N", default_value_t = 10_000.0, value_parser = positive)]
    pub api_requests_per_second: f64,
    /// DashScope applications that share the chat equally
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = positive)]
    pub applications: f64,
    /// Calls per second of one application (limit of DashScope and of Parlor)
    #[arg(long, value_name = "N", default_value_t = 100.0, value_parser = positive)]
    pub application_calls_per_second: f64,
    /// Calls per minute of an account of Alibaba Cloud (limit of DashScope)
    #[arg(long, value_name = "N", default_value_t = 15_000.0, value_parser = positive)]
    pub account_calls_per_minute: f64,
    /// vCPU of PostgreSQL
    #[arg(long, value_name = "N", default_value_t = 4.0, value_parser = positive)]
    pub postgres_vcpu: f64,
    /// Memory of PostgreSQL. It sets `max_connections`
    #[arg(long, value_name = "GIB", default_value_t = 32.0, value_parser = positive)]
    pub postgres_memory_gib: f64,
    /// Operations per second of the volume
    #[arg(long, value_name = "N", default_value_t = 12_000.0, value_parser = positive)]
    pub volume_iops: f64,
    /// Throughput of the volume
    #[arg(long, value_name = "MIB", default_value_t = 500.0, value_parser = positive)]
    pub volume_mib_per_second: f64,
    /// Largest volume: 64 TiB on RDS, 128 TiB on Aurora
    #[arg(long, value_name = "GIB", default_value_t = 65_536.0, value_parser = positive)]
    pub volume_gib: f64,
    /// Pages of 8 KiB that a reply changes, each written once by a checkpoint of PostgreSQL
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = amount)]
    pub pages_per_reply: f64,
    /// Size of tables and indexes, divided by their size after loading
    #[arg(long, value_name = "F", default_value_t = 1.3, value_parser = positive)]
    pub bloat_factor: f64,
    /// Days that runs are kept (`RunLogRetentionDays` of the template)
    #[arg(long, value_name = "N", default_value_t = 180.0, value_parser = positive)]
    pub run_log_days: f64,
    /// Years of messages to store
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = positive)]
    pub years: f64,
    /// Part of the other requests that read from replicas. Parlor cannot do this yet
    #[arg(long, value_name = "F", default_value_t = 0.0, value_parser = amount)]
    pub reads_on_replicas: f64,
    /// Stacks among which the sites are divided, each with its own database and accounts
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = positive)]
    pub stacks: f64,
    /// Part of a resource that is planned to be used; the rest is for bursts and failovers
    #[arg(long, value_name = "F", default_value_t = 0.7, value_parser = positive)]
    pub target: f64,
}

fn amount(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.0..=1e15).contains(&value) => Ok(value),
        _ => Err("must be a number of at least 0".to_owned()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match amount(text) {
        Ok(value) if value > 0.0 => Ok(value),
        _ => Err("must be a number above 0".to_owned()),
    }
}

/// How the functions that stream run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of docs/deploying.md")]
pub enum Capacity {
    Standard,
    Managed,
}

/// A resource with a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the tables describe them")]
pub enum Resource {
    Lambda,
    ApiRoute,
    ApiAccount,
    ApplicationCalls,
    AccountCalls,
    Connections,
    PostgresCpu,
    Iops,
    Throughput,
    Storage,
}

impl Resource {
    /// All resources, in the order of the tables.
    pub const ALL: [Self; 10] = [
        Self::Lambda,
        Self::ApiRoute,
        Self::ApiAccount,
        Self::ApplicationCalls,
        Self::AccountCalls,
        Self::Connections,
        Self::PostgresCpu,
        Self::Iops,
        Self::Throughput,
        Self::Storage,
    ];
}

impl Load {
    /// The same users, with more messages.
    #[must_use]
    pub fn times(&self, factor: f64) -> Self {
        Self {
            messages_per_day: self.messages_per_day * factor,
            ..self.clone()
        }
    }

    /// Messages per second, on average over the day.
    pub fn mean_per_second(&self) -> f64 {
        self.messages_per_day / SECONDS_PER_DAY
    }

    /// Messages per second in the busiest hour.
    pub fn peak_per_second(&self) -> f64 {
        self.mean_per_second() * self.peak_factor
    }

    /// Replies in progress in the busiest hour (Little's law).
    pub fn replies_at_once(&self) -> f64 {
        self.peak_per_second() * self.seconds_per_reply
    }

    /// Tokens per second in the busiest hour.
    pub fn tokens_per_second(&self) -> f64 {
        self.peak_per_second() * self.reply_tokens
    }

    /// Requests per second in the busiest hour.
    pub fn requests_per_second(&self) -> f64 {
        self.peak_per_second() * (1.0 + self.reads_per_message)
    }

    /// Checkpoints of a reply: none at its end, which stores the text itself.
    pub fn checkpoints_per_reply(&self) -> f64 {
        (self.seconds_per_reply / CHECKPOINT_SECONDS).floor()
    }

    /// Text of a question and its reply.
    pub fn text_bytes(&self) -> f64 {
        self.question_bytes + self.reply_tokens * self.bytes_per_token
    }

    /// What a client receives per reply.
    pub fn stream_bytes(&self) -> f64 {
        self.reply_tokens * (self.bytes_per_token + self.event_bytes)
    }
}

/// Environments of Lambda Managed Instances in the busiest hour.
pub fn environments(load: &Load, sizing: &Sizing) -> f64 {
    load.replies_at_once() / sizing.streams_per_environment
}

/// vCPU of Lambda Managed Instances in the busiest hour: of the environments, or more if the relay
/// needs it. AWS starts at least three instances of 2 vCPU.
pub fn managed_vcpu(load: &Load, sizing: &Sizing, measured: &Measured) -> f64 {
    let by_cpu = relay_cores(load, measured) / sizing.target;
    let by_environments = environments(load, sizing).ceil() * sizing.vcpu_per_environment;
    by_cpu.max(by_environments).max(6.0)
}

/// CPU time per second that relaying the tokens takes in the busiest hour.
pub fn relay_cores(load: &Load, measured: &Measured) -> f64 {
    load.tokens_per_second() * measured.token_cpu_us.value / 1e6
}

/// Time of the statements of a reply, in the benchmark.
pub fn statement_ms_per_reply(load: &Load, measured: &Measured) -> f64 {
    measured.begin_ms.value
        + load.checkpoints_per_reply() * measured.checkpoint_ms.value
        + measured.finish_ms.value
}

/// CPU time of a message on the primary database: the reply and the other requests.
pub fn postgres_ms_per_message(load: &Load, sizing: &Sizing, measured: &Measured) -> f64 {
    let reads = load.reads_per_message * (1.0 - sizing.reads_on_replicas);
    let reads_ms = reads * measured.read_ms.value;
    (statement_ms_per_reply(load, measured) + reads_ms) * CPU_PER_STATEMENT_TIME
}

/// Write-ahead log of a reply.
pub fn wal_bytes_per_reply(load: &Load) -> f64 {
    WAL_BYTES_PER_REPLY + load.checkpoints_per_reply() * WAL_BYTES_PER_CHECKPOINT
}

/// Operations of the volume per reply. Each commit writes the log, which is an upper bound: commits
/// at the same time share a write.
pub fn operations_per_reply(load: &Load, sizing: &Sizing) -> f64 {
    COMMITS_PER_REPLY + load.checkpoints_per_reply() + sizing.pages_per_reply
}

/// Bytes of tables and indexes that a message adds, and that stay.
pub fn kept_bytes_per_message(load: &Load, sizing: &Sizing) -> f64 {
    let conversation = CONVERSATION_BYTES / load.messages_per_conversation;
    (2.0 * MESSAGE_BYTES + conversation + load.text_bytes()) * sizing.bloat_factor
}

/// Bytes of the run log that a message adds, until `run_log_days` later. The run log repeats
/// question and reply.
pub fn run_bytes_per_message(load: &Load, sizing: &Sizing) -> f64 {
    (RUN_BYTES + load.text_bytes()) * sizing.bloat_factor
}

/// Size of the database after a number of days.
pub fn stored_gib(load: &Load, sizing: &Sizing, days: f64) -> f64 {
    let kept = kept_bytes_per_message(load, sizing) * days;
    let runs = run_bytes_per_message(load, sizing) * days.min(sizing.run_log_days);
    load.messages_per_day * (kept + runs) / GIB
}

/// `max_connections` of RDS for `PostgreSQL` by default:
/// `LEAST({DBInstanceClassMemory/9531392}, 5000)`.
/// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Limits.html>, read 2026-11-29.
pub fn max_connections(memory_gib: f64) -> f64 {
    (memory_gib * GIB / 9_531_392.0).min(5000.0).floor()
}

/// What a resource has, with all stacks together.
pub fn limit(resource: Resource, sizing: &Sizing) -> f64 {
    let of_a_stack = match resource {
        Resource::Lambda => sizing.lambda_concurrency,
        Resource::ApiRoute => sizing.route_requests_per_second,
        Resource::ApiAccount => sizing.api_requests_per_second,
        Resource::ApplicationCalls => sizing.application_calls_per_second * sizing.applications,
        Resource::AccountCalls => sizing.account_calls_per_minute,
        Resource::Connections => max_connections(sizing.postgres_memory_gib),
        Resource::PostgresCpu => sizing.postgres_vcpu,
        Resource::Iops => sizing.volume_iops,
        Resource::Throughput => sizing.volume_mib_per_second,
        Resource::Storage => sizing.volume_gib,
    };
    of_a_stack * sizing.stacks
}

/// What the busiest hour takes of a resource, or `years` of storage.
pub fn used(
    resource: Resource,
    load: &Load,
    sizing: &Sizing,
    measured: &Measured,
    capacity: Capacity,
) -> f64 {
    let peak = load.peak_per_second();
    let reads_at_once = peak * load.reads_per_message * sizing.read_duration_ms / 1e3;
    match resource {
        Resource::Lambda => match capacity {
            Capacity::Standard => load.replies_at_once() + reads_at_once,
            // Only the functions that stream are managed.
            Capacity::Managed => reads_at_once,
        },
        // Each other request counts for a route of its own.
        Resource::ApiRoute | Resource::ApplicationCalls => peak,
        Resource::ApiAccount => load.requests_per_second(),
        Resource::AccountCalls => peak * 60.0,
        Resource::Connections => {
            let replies = match capacity {
                Capacity::Standard => load.replies_at_once() * sizing.connections_per_instance,
                Capacity::Managed => {
                    environments(load, sizing) * sizing.connections_per_environment
                }
            };
            replies + reads_at_once * sizing.connections_per_instance
        }
        Resource::PostgresCpu => peak * postgres_ms_per_message(load, sizing, measured) / 1e3,
        Resource::Iops => peak * operations_per_reply(load, sizing),
        Resource::Throughput => {
            let pages_bytes = sizing.pages_per_reply * 8192.0;
            peak * (wal_bytes_per_reply(load) + pages_bytes) / MIB
        }
        Resource::Storage => stored_gib(load, sizing, sizing.years * DAYS_PER_YEAR),
    }
}

/// Messages per day at which a resource is used up in the busiest hour.
pub fn messages_per_day_at_limit(
    resource: Resource,
    load: &Load,
    sizing: &Sizing,
    measured: &Measured,
    capacity: Capacity,
) -> f64 {
    let used = used(resource, load, sizing, measured, capacity);
    load.messages_per_day * limit(resource, sizing) / used
}

/// The resource that is used up first, and the messages per day at that point.
pub fn first_limit(
    load: &Load,
    sizing: &Sizing,
    measured: &Measured,
    capacity: Capacity,
) -> (Resource, f64) {
    let at = |resource| messages_per_day_at_limit(resource, load, sizing, measured, capacity);
    Resource::ALL
        .map(|resource| (resource, at(resource)))
        .into_iter()
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((Resource::Lambda, 0.0))
}

/// Prices in US dollars, on demand, without free tiers, volume discounts and taxes, in US East
/// (N. Virginia). The price pages of AWS compute their tables in the browser. So the values are
/// from pages that quote them. The comments name these pages, as of 2026-11-29.
#[derive(Args, Clone, Debug)]
pub struct Prices {
    // Of https://aws.amazon.com/lambda/pricing/, quoted in artillery 2.0.28, aws-lambda/prices.js.
    /// Lambda, x86, per GB-second
    #[arg(long, value_name = "USD", default_value_t = 0.000_016_666_7, value_parser = amount)]
    pub lambda_gb_second: f64,
    // https://aws.amazon.com/lambda/pricing/, as transcribed by api-evangelist on 2026-09-20.
    /// Lambda, per million requests; also for managed instances
    #[arg(long, value_name = "USD", default_value_t = 0.2, value_parser = amount)]
    pub lambda_million_requests: f64,
    // An m7g.large has 2 vCPU and costs 0.0816 USD per hour:
    // https://www.factualminds.com/blog/amazon-ec2-on-demand-pricing-instance-families-2026/
    /// EC2 per vCPU and hour. An example: half of an m7g.large
    #[arg(long, value_name = "USD", default_value_t = 0.0408, value_parser = amount)]
    pub ec2_vcpu_hour: f64,
    // Transcribed together with the price of requests.
    /// Fee of Lambda Managed Instances, as a part of the price of EC2
    #[arg(long, value_name = "F", default_value_t = 0.15, value_parser = amount)]
    pub managed_fee: f64,
    // The first 333 million requests of a month. Each 10 MB of a stream count as a request:
    // https://awsforengineers.com/blog/aws-api-gateway-pricing-explained, of 2025-05-19, and
    // https://aws-news.com/article/2025-11-19-building-responsive-apis-with-amazon-api-gateway-response-streaming
    /// REST API, per million requests
    #[arg(long, value_name = "USD", default_value_t = 3.5, value_parser = amount)]
    pub api_million_requests: f64,
    // From the same page.
    /// Data to the internet, per GB
    #[arg(long, value_name = "USD", default_value_t = 0.09, value_parser = amount)]
    pub transfer_gb: f64,
    // No page with this price was found.
    /// RDS for PostgreSQL per vCPU and hour, in one zone. An example, not confirmed
    #[arg(long, value_name = "USD", default_value_t = 0.12, value_parser = amount)]
    pub postgres_vcpu_hour: f64,
    // https://www.usage.ai/blogs/aws/reserved-instances/rds/pricing-calculator/, of 2026-06.
    /// Storage gp3 of RDS per GB and month, in one zone
    #[arg(long, value_name = "USD", default_value_t = 0.115, value_parser = amount)]
    pub storage_gb_month: f64,
    /// Zones with a copy of the database: 2 with a standby
    #[arg(long, value_name = "N", default_value_t = 2.0, value_parser = positive)]
    pub zones: f64,
    // The example of docs/operations.md.
    /// DashScope, yuan per million tokens of prompts. An example
    #[arg(long, value_name = "CNY", default_value_t = 0.8, value_parser = amount)]
    pub input_million_tokens: f64,
    /// DashScope, yuan per million tokens of replies. An example
    #[arg(long, value_name = "CNY", default_value_t = 2.0, value_parser = amount)]
    pub output_million_tokens: f64,
}

/// Cost of a month. US dollars, except `dashscope_cny`.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the tables describe them")]
pub struct Cost {
    pub lambda_standard: f64,
    pub lambda_managed: f64,
    pub reads: f64,
    pub api: f64,
    pub transfer: f64,
    pub postgres: f64,
    pub storage: f64,
    pub dashscope_cny: f64,
}

impl Cost {
    /// What is the same with both kinds of capacity.
    pub fn of_both(&self) -> f64 {
        self.reads + self.api + self.transfer + self.postgres + self.storage
    }
}

/// vCPU that the database needs in the busiest hour: a power of two, at least 2.
pub fn postgres_vcpu_needed(load: &Load, sizing: &Sizing, measured: &Measured) -> f64 {
    let cores = used(
        Resource::PostgresCpu,
        load,
        sizing,
        measured,
        Capacity::Standard,
    );
    (cores / sizing.target).log2().ceil().exp2().max(2.0)
}

/// Cost of a month. Storage is that after `years`.
pub fn cost(load: &Load, sizing: &Sizing, measured: &Measured, prices: &Prices) -> Cost {
    let messages = load.messages_per_day * DAYS_PER_MONTH;
    let gb = sizing.lambda_memory_mib / 1024.0;
    let million_requests = messages / 1e6;
    let invocation = |seconds: f64| seconds * gb * prices.lambda_gb_second;
    let request_fee = million_requests * prices.lambda_million_requests;
    let reads = load.reads_per_message;
    let vcpu = managed_vcpu(load, sizing, measured);
    let instances = vcpu * HOURS_PER_MONTH * prices.ec2_vcpu_hour * (1.0 + prices.managed_fee);
    let transfer_gb = messages * load.stream_bytes() / 1e9;
    let postgres_vcpu = postgres_vcpu_needed(load, sizing, measured);
    let stored_gb = stored_gib(load, sizing, sizing.years * DAYS_PER_YEAR);
    Cost {
        lambda_standard: messages * invocation(load.seconds_per_reply) + request_fee,
        lambda_managed: instances + request_fee,
        reads: messages * reads * invocation(sizing.read_duration_ms / 1e3) + reads * request_fee,
        api: million_requests * (1.0 + reads) * prices.api_million_requests,
        transfer: transfer_gb * prices.transfer_gb,
        postgres: postgres_vcpu * HOURS_PER_MONTH * prices.postgres_vcpu_hour * prices.zones,
        storage: stored_gb * prices.storage_gb_month * prices.zones,
        dashscope_cny: million_requests
            * (load.prompt_tokens * prices.input_million_tokens
                + load.reply_tokens * prices.output_million_tokens),
    }
}
