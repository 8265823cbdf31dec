//! The AWS operations that Pinion uses, and the throttling bucket that each draws on.

/// A throttling bucket of an account and region, as AWS keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    Sts,
    AutoScaling,
    Ec2Read,
    Ec2Write,
    EcsServiceRead,
    EcsServiceWrite,
    EcsDeploymentRead,
    EcsDefinitionRead,
    EcsDefinitionWrite,
    Ecr,
    Ssm,
}

impl Family {
    pub(super) const ALL: [Self; 11] = [
        Self::Sts,
        Self::AutoScaling,
        Self::Ec2Read,
        Self::Ec2Write,
        Self::EcsServiceRead,
        Self::EcsServiceWrite,
        Self::EcsDeploymentRead,
        Self::EcsDefinitionRead,
        Self::EcsDefinitionWrite,
        Self::Ecr,
        Self::Ssm,
    ];

    /// Calls at once, and calls a second after that. AWS's published figures for ECS and EC2; guesses on the low side
    /// where it publishes none (Auto Scaling, SSM, STS), because others in the account share them.
    pub(super) fn quota(self) -> (u32, u32) {
        match self {
            Self::Sts => (20, 5),
            Self::AutoScaling => (50, 10),
            Self::Ec2Read | Self::EcsServiceRead | Self::Ecr => (100, 20),
            Self::Ec2Write => (50, 5),
            Self::EcsServiceWrite => (50, 5),
            Self::EcsDeploymentRead | Self::EcsDefinitionRead => (50, 20),
            Self::EcsDefinitionWrite => (20, 1),
            Self::Ssm => (40, 10),
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
    DescribeLaunchTemplateVersions = "ec2" "DescribeLaunchTemplateVersions" Ec2Read,
    CreateLaunchTemplateVersion = "ec2" "CreateLaunchTemplateVersion" Ec2Write,
    DescribeServices = "ecs" "DescribeServices" EcsServiceRead,
    UpdateService = "ecs" "UpdateService" EcsServiceWrite,
    StopServiceDeployment = "ecs" "StopServiceDeployment" EcsServiceWrite,
    ListServiceDeployments = "ecs" "ListServiceDeployments" EcsDeploymentRead,
    DescribeServiceDeployments = "ecs" "DescribeServiceDeployments" EcsDeploymentRead,
    DescribeServiceRevisions = "ecs" "DescribeServiceRevisions" EcsDeploymentRead,
    ListTaskDefinitions = "ecs" "ListTaskDefinitions" EcsDefinitionRead,
    DescribeTaskDefinition = "ecs" "DescribeTaskDefinition" EcsDefinitionRead,
    RegisterTaskDefinition = "ecs" "RegisterTaskDefinition" EcsDefinitionWrite,
    BatchGetImage = "ecr" "BatchGetImage" Ecr,
    DescribeContainerImages = "ecr" "DescribeImages" Ecr,
    GetParameters = "ssm" "GetParameters" Ssm,
}

impl Operation {
    /// The operation of that service and name, if Pinion uses it.
    pub(super) fn named(service: &str, name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|operation| operation.service() == service && operation.name() == name)
    }
}
