//! The steps from the first limit to a hundred times the messages: the resource that is used up
//! first, what to do, and the resource that is used up next.

use super::{
    measured::Measured,
    model::{Capacity, Load, Resource, Sizing, first_limit},
    text::{Text, text},
};

/// What is done about a limit.
#[derive(Clone, Debug)]
pub struct Step {
    /// Messages per day at which the resource is used up in the busiest hour.
    pub messages_per_day: f64,
    /// The resource.
    pub resource: Resource,
    /// What to do then. `None`: nothing is needed for the load of the last column.
    pub action: Option<Text>,
}

/// The deployment without limits of DashScope, such as with a contract of your own.
#[must_use]
pub fn without_limits_of_dashscope(sizing: &Sizing) -> Sizing {
    Sizing {
        application_calls_per_second: f64::INFINITY,
        account_calls_per_minute: f64::INFINITY,
        ..sizing.clone()
    }
}

/// The steps until the load fits.
pub fn steps(load: &Load, sizing: &Sizing, measured: &Measured) -> Vec<Step> {
    let mut sizing = sizing.clone();
    let mut capacity = Capacity::Standard;
    let mut steps = Vec::new();
    // Each action at least doubles a limit, so this ends long before.
    for _ in 0..64 {
        let (resource, messages_per_day) = first_limit(load, &sizing, measured, capacity);
        let action = (messages_per_day < load.messages_per_day)
            .then(|| act(resource, &mut sizing, &mut capacity));
        let is_last = action.is_none();
        steps.push(Step {
            messages_per_day,
            resource,
            action,
        });
        if is_last {
            break;
        }
    }
    steps
}

/// Raises a limit, and returns how.
fn act(resource: Resource, sizing: &mut Sizing, capacity: &mut Capacity) -> Text {
    match (resource, *capacity) {
        (Resource::Lambda, _) if sizing.lambda_concurrency < 10_000.0 => {
            sizing.lambda_concurrency = 10_000.0;
            text(
                "raise the quota of concurrent executions to 10,000",
                "把并发执行配额提高到 10,000",
            )
        }
        (Resource::Lambda | Resource::Connections, Capacity::Standard) => {
            *capacity = Capacity::Managed;
            text(
                "stream from Lambda Managed Instances",
                "流式函数改用 Lambda Managed Instances",
            )
        }
        (Resource::ApplicationCalls, _) => {
            sizing.applications *= 4.0;
            let to = sizing.applications;
            Text {
                en: format!("divide the sites among {to} DashScope applications"),
                zh: format!("各门店分到 {to} 个 DashScope 应用"),
            }
        }
        (Resource::AccountCalls, _) => {
            sizing.stacks *= 4.0;
            let to = sizing.stacks;
            Text {
                en: format!(
                    "a higher limit from Alibaba Cloud, or {to} stacks with accounts and databases \
                     of their own, and the sites divided among them"
                ),
                zh: format!(
                    "向阿里云申请提高限额；或拆成 {to} 套独立部署，各有自己的账号和数据库，门店分摊"
                ),
            }
        }
        (Resource::Connections, Capacity::Managed) if sizing.streams_per_environment < 256.0 => {
            sizing.streams_per_environment = 256.0;
            text(
                "256 streams in an environment, which share its connections",
                "每个执行环境承载 256 个流，共用其连接",
            )
        }
        (Resource::PostgresCpu, _) if sizing.postgres_vcpu < 64.0 => {
            sizing.postgres_vcpu *= 4.0;
            sizing.postgres_memory_gib *= 4.0;
            let (vcpu, memory) = (sizing.postgres_vcpu, sizing.postgres_memory_gib);
            Text {
                en: format!("PostgreSQL with {vcpu} vCPU and {memory} GiB"),
                zh: format!("PostgreSQL 换成 {vcpu} vCPU、{memory} GiB"),
            }
        }
        (Resource::PostgresCpu, _) if sizing.reads_on_replicas == 0.0 => {
            sizing.reads_on_replicas = 1.0;
            text(
                "lists from read replicas (Parlor needs a second database URL for them)",
                "列表改读只读副本（Parlor 需要先支持第二个数据库地址）",
            )
        }
        (Resource::Iops, _) if sizing.volume_iops < 64_000.0 => {
            sizing.volume_iops = 64_000.0;
            text("provision 64,000 IOPS", "预置 64,000 IOPS")
        }
        (Resource::Throughput, _) if sizing.volume_mib_per_second < 4000.0 => {
            sizing.volume_mib_per_second = 4000.0;
            text("provision 4,000 MiB/s", "预置 4,000 MiB/s")
        }
        (Resource::Iops | Resource::Throughput | Resource::Storage, _)
            if sizing.volume_gib < 131_072.0 =>
        {
            sizing.volume_gib = 131_072.0;
            sizing.volume_iops = f64::INFINITY;
            sizing.volume_mib_per_second = f64::INFINITY;
            text(
                "Aurora: up to 128 TiB, without IOPS to provision",
                "改用 Aurora：上限 128 TiB，无需预置 IOPS",
            )
        }
        (Resource::Storage, _) if sizing.years > 0.5 => {
            sizing.years = 0.5;
            text(
                "partition the messages by month, and archive those of more than six months",
                "消息按月分区，半年以上的归档",
            )
        }
        (Resource::ApiRoute, _) if sizing.route_requests_per_second < 10_000.0 => {
            sizing.route_requests_per_second = 10_000.0;
            text(
                "raise `ApiRateLimit` to 10,000",
                "把 `ApiRateLimit` 提高到 10,000",
            )
        }
        (Resource::ApiAccount, _) if sizing.api_requests_per_second < 40_000.0 => {
            sizing.api_requests_per_second = 40_000.0;
            text(
                "raise the quota of API Gateway to 40,000 requests per second",
                "把 API Gateway 配额提高到每秒 40,000 请求",
            )
        }
        _ => {
            sizing.stacks *= 4.0;
            let to = sizing.stacks;
            Text {
                en: format!(
                    "{to} stacks, such as one for each region, and the sites divided among them"
                ),
                zh: format!("拆成 {to} 套独立部署（例如每个地域一套），门店分摊"),
            }
        }
    }
}
