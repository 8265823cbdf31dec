//! The AWS operations that Pinion uses, and the throttling bucket that each draws on.

use pinion_core::plan::Action;
use pinion_core::plan::forecast::Quota;

/// A throttling bucket of an account and region, as AWS keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    Sts,
    AutoScaling,
    Ec2Read,
    Ec2Write,
    TemplateVersionWrite,
    EcsClusterRead,
    EcsServiceRead,
    EcsServiceWrite,
    EcsDeploymentRead,
    EcsDeploymentWrite,
    EcsDefinitionRead,
    EcsDefinitionWrite,
    Ecr,
    Ssm,
    CloudWatch,
}

impl Family {
    pub(super) const ALL: [Self; 15] = [
        Self::Sts,
        Self::AutoScaling,
        Self::Ec2Read,
        Self::Ec2Write,
        Self::TemplateVersionWrite,
        Self::EcsClusterRead,
        Self::EcsServiceRead,
        Self::EcsServiceWrite,
        Self::EcsDeploymentRead,
        Self::EcsDeploymentWrite,
        Self::EcsDefinitionRead,
        Self::EcsDefinitionWrite,
        Self::Ecr,
        Self::Ssm,
        Self::CloudWatch,
    ];

    /// What AWS allows at once and a second after that: its published figures for ECS and EC2; guesses on the low side where
    /// it publishes none (Auto Scaling, SSM, STS), because others in the account share them.
    pub(super) fn quota(self) -> Quota {
        match self {
            Self::Sts => Quota::of(20, 5),
            Self::AutoScaling => Quota::AUTO_SCALING,
            Self::Ec2Read | Self::EcsServiceRead | Self::Ecr => Quota::of(100, 20),
            Self::Ec2Write => Quota::of(50, 5),
            Self::TemplateVersionWrite => Quota::TEMPLATE_VERSIONS,
            Self::EcsServiceWrite => Quota::SERVICES,
            Self::EcsClusterRead | Self::EcsDeploymentRead | Self::EcsDeploymentWrite => Quota::of(50, 20),
            // AWS has 50 and 20. Each service that waits is looked up in each pass, and `plan` and people read, too.
            Self::EcsDefinitionRead => Quota::of(40, 15),
            Self::EcsDefinitionWrite => Quota::TASK_DEFINITIONS,
            Self::Ssm => Quota::of(40, 10),
            // DescribeAlarms: 9 a second of an account and region.
            Self::CloudWatch => Quota::of(9, 5),
        }
    }
}

macro_rules! operations {
    ($($variant:ident = $service:literal $name:literal $family:ident),* $(,)?) => {
        /// An operation of a service.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Operation {
            $($variant),*
        }

        impl Operation {
            const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The service's name in IAM.
            pub(super) fn service(self) -> &'static str {
                match self { $(Self::$variant => $service),* }
            }

            /// AWS's name of it.
            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The bucket that it draws on.
            pub(super) fn family(self) -> Family {
                match self { $(Self::$variant => Family::$family),* }
            }
        }
    };
}

operations! {
    AssumeRole = "sts" "AssumeRole" Sts,
    GetCallerIdentity = "sts" "GetCallerIdentity" Sts,
    DescribeAutoScalingGroups = "autoscaling" "DescribeAutoScalingGroups" AutoScaling,
    DescribeInstanceRefreshes = "autoscaling" "DescribeInstanceRefreshes" AutoScaling,
    UpdateAutoScalingGroup = "autoscaling" "UpdateAutoScalingGroup" AutoScaling,
    StartInstanceRefresh = "autoscaling" "StartInstanceRefresh" AutoScaling,
    CancelInstanceRefresh = "autoscaling" "CancelInstanceRefresh" AutoScaling,
    RollbackInstanceRefresh = "autoscaling" "RollbackInstanceRefresh" AutoScaling,
    DescribeMachineImages = "ec2" "DescribeImages" Ec2Read,
    DescribeInstanceTypes = "ec2" "DescribeInstanceTypes" Ec2Read,
    DescribeLaunchTemplates = "ec2" "DescribeLaunchTemplates" Ec2Read,
    DescribeLaunchTemplateVersions = "ec2" "DescribeLaunchTemplateVersions" Ec2Read,
    CreateLaunchTemplateVersion = "ec2" "CreateLaunchTemplateVersion" TemplateVersionWrite,
    ListClusters = "ecs" "ListClusters" EcsClusterRead,
    ListServices = "ecs" "ListServices" EcsServiceRead,
    DescribeServices = "ecs" "DescribeServices" EcsServiceRead,
    UpdateService = "ecs" "UpdateService" EcsServiceWrite,
    StopServiceDeployment = "ecs" "StopServiceDeployment" EcsDeploymentWrite,
    ListServiceDeployments = "ecs" "ListServiceDeployments" EcsDeploymentRead,
    DescribeServiceDeployments = "ecs" "DescribeServiceDeployments" EcsDeploymentRead,
    DescribeServiceRevisions = "ecs" "DescribeServiceRevisions" EcsDeploymentRead,
    ListTaskDefinitions = "ecs" "ListTaskDefinitions" EcsDefinitionRead,
    DescribeTaskDefinition = "ecs" "DescribeTaskDefinition" EcsDefinitionRead,
    RegisterTaskDefinition = "ecs" "RegisterTaskDefinition" EcsDefinitionWrite,
    BatchGetImage = "ecr" "BatchGetImage" Ecr,
    DescribeContainerImages = "ecr" "DescribeImages" Ecr,
    DescribeAlarms = "cloudwatch" "DescribeAlarms" CloudWatch,
    DescribeParameters = "ssm" "DescribeParameters" Ssm,
    GetParameters = "ssm" "GetParameters" Ssm,
}

impl Operation {
    /// The operation of that service and name, if Pinion uses it.
    pub(super) fn named(service: &str, name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|operation| operation.service() == service && operation.name() == name)
    }

    /// The operation that an action is; `None` for what isn't a call to AWS.
    pub(super) fn of_action(action: &Action) -> Option<Self> {
        Self::ALL.iter().copied().find(|operation| operation.name() == action.operation())
    }
}
