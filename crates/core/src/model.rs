//! The domain: what Git wants, what AWS shows, and the words for what lies between. No I/O.

pub mod address;
pub mod artifact;
pub mod base;
pub mod call;
pub mod cause;
pub mod claim;
pub mod desired;
pub mod error;
pub mod escape;
pub mod event;
pub mod hex;
pub mod names;
pub mod observed;
pub mod pin;
mod precedence;
pub mod promotion;
pub mod reason;
pub mod repository;
pub mod rollout;
pub mod session;
pub mod state;
pub mod status;
pub mod survey;
pub mod target_state;
pub mod words;

pub use address::{address_in, is_link_local};
pub use artifact::{Artifact, ArtifactQuery, ImageReference, Pattern, same_repository};
pub use base::{Base, BaseRevision, BaseRule, BaseSource, Bases, ShapeChange, principal, role_of};
pub use call::{Applied, CallRecord, Outcome};
pub use claim::{Claimed, EnvironmentClaims, Named, Owner, Refusal, Resource};
pub use desired::{
    Account, AmiQuery, AsgSpec, Environment, FargateSpec, Probe, Reach, RolloutSettings, ShapeLimit, Suspension,
    Target, TargetSpec,
};
pub use error::{ErrorClass, PortError, ResolveError};
pub use names::{
    AccountId, ClusterName, CommitId, Component, Digest, EnvironmentName, GroupName, Installation, InvalidName, Kind,
    LocalRef, Region, RoleArn, ServiceName, TargetRef, Version,
};
pub use observed::{
    Container, GroupInstance, GroupTemplate, GroupTraits, MixedPolicy, ObservedDeployment, ObservedGroup,
    ObservedService, ObservedTarget, OverrideTemplate, TaskDefinition, TemplateRef, TemplateUser, TemplateVersion,
    TemplateVersionSpec,
};
pub use pin::{Pin, Provenance, Signer, SignerKind, Trailer};
pub use promotion::{Promotion, PromotionMode, Run, Standing};
pub use reason::{Denial, Failing, Reason, Rollback};
pub use repository::{Files, PinKey, RepositoryError, Tip, Verified};
pub use rollout::{Marker, Rollout, RolloutHistory, RolloutId, RolloutOutcome, RolloutResult, RolloutTarget};
pub use session::Session;
pub use state::State;
pub use target_state::{Ongoing, StartedRollout, TargetState};
