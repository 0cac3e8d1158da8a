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
        (Resource::PostgresCpu | Resource::Connections, _) if sizing.postgres_vcpu < 64.0 => {
            sizing.postgres_vcpu *= 4.0;
            sizing.postgres_memory_gib *= 4.0;
            let (vcpu, memory) = (sizing.postgres_vcpu, sizing.postgres_memory_gib);
            Text {
                en: format!("PostgreSQL with {vcpu} vCPU and {memory} GiB"),
                zh: format!("PostgreSQL 换成 {vcpu} vCPU、{memory} GiB"),
            }
        }
        (Resource::Iops, _) if sizing.volume_iops < 64_000.0 => {
            sizing.volume_iops = 64_000.0;
            text(
                "provision 64,000 IOPS, or use Aurora",
                "预置 64,000 IOPS，或改用 Aurora",
            )
        }
        (Resource::Throughput, _) if sizing.volume_mib_per_second < 4000.0 => {
            sizing.volume_mib_per_second = 4000.0;
            text(
                "provision 4,000 MiB/s, or use Aurora",
                "预置 4,000 MiB/s，或改用 Aurora",
            )
        }
        (Resource::Storage, _) if sizing.volume_gib < 131_072.0 => {
            sizing.volume_gib = 131_072.0;
            text(
                "Aurora, up to 128 TiB; partition the messages by month and archive old ones",
                "改用 Aurora（上限 128 TiB）；消息按月分区，旧分区归档",
            )
        }
        (Resource::ApiRoute, _) if sizing.route_requests_per_second < 10_000.0 => {
            sizing.route_requests_per_second = 10_000.0;
            text(
                "raise `ApiRateLimit` to 10,000",
                "把 `ApiRateLimit` 提高到 10,000",
            )
        }
        _ => {
            sizing.stacks *= 2.0;
            let to = sizing.stacks;
            Text {
                en: format!(
                    "divide the sites among {to} stacks in their own regions or accounts, each \
                     with its own database and key"
                ),
                zh: format!(
                    "各门店分到 {to} 个独立部署（不同地域或账号，各有自己的数据库和 API Key）"
                ),
            }
        }
    }
}
