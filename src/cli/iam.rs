//! `pinion iam`: the policies that the environments of a folder need.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::error::{CliError, ResultExt as _};
use super::output::{self, Screen, print};
use super::unknown;
use crate::iam::{self, Access, Options, Part, Scope};
use crate::manifest::{self, Draft};
use crate::model::{EnvironmentName, Kind, TargetSpec, words};

/// Versions that stand for any: one that is an AMI's id, and one that is the rest of one. No release is called so.
const ANY_VERSION: [&str; 2] = ["ami-0a11ce5510115ca1e", "0a11ce5510115ca1e"];

/// Prints the policies that environments need in AWS, and no more than they need
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The environments; all of them if none is named.
    #[arg(value_name = "ENV")]
    environments: Vec<EnvironmentName>,
    /// The folder that has `environments/`.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// The form.
    #[arg(long, value_enum, default_value_t)]
    output: Form,
    /// Only a part of it. Without, all as JSON, or both roles of each environment as a template.
    #[arg(long, value_enum)]
    kind: Option<DocumentKind>,
    /// The identity that `pinion run` has; may be repeated.
    #[arg(long, value_name = "ARN", required = true)]
    controller: Vec<String>,
    /// The identity that `pinion plan` has, if it is another one; may be repeated.
    #[arg(long, value_name = "ARN")]
    planner: Vec<String>,
    /// The name of the read-only role in each account.
    #[arg(long, value_name = "NAME", default_value = "pinion-plan")]
    plan_role: String,
    /// A role of tasks (`taskRoleArn`), by ARN or by name; may be repeated.
    #[arg(long, value_name = "ROLE")]
    task_role: Vec<String>,
    /// A role that ECS starts tasks with (`executionRoleArn`), by ARN or by name; may be repeated.
    #[arg(long, value_name = "ROLE")]
    execution_role: Vec<String>,
    /// A role of the instance profile in a launch template, by ARN or by name; may be repeated.
    #[arg(long, value_name = "ROLE")]
    instance_role: Vec<String>,
    /// The id of a group's launch template (`lt-…`), of which versions may be made; may be repeated. No other is allowed.
    #[arg(long, value_name = "ID")]
    launch_template: Vec<String>,
    /// The identities carry session tags, as those of EKS Pod Identity do.
    #[arg(long)]
    session_tags: bool,
    /// Write each document into a file of its own in this folder instead.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["output", "kind"])]
    write: Option<PathBuf>,
}

/// The form to print policies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Form {
    /// JSON as AWS's own tools take it.
    #[default]
    Json,
    /// A CloudFormation template.
    Cloudformation,
    /// Terraform's JSON, for a file `*.tf.json`.
    Terraform,
}

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DocumentKind {
    /// The role of each environment: trust and permissions.
    Role,
    /// The read-only role of each environment: trust and permissions.
    Plan,
    /// The permissions of Pinion's own identity.
    Controller,
    /// The permissions of the identity that runs `pinion plan`.
    Planner,
    /// What accounts that hold artifacts share.
    Common,
}

/// Runs the command.
///
/// # Errors
/// If the files are broken, an argument is wrong, or nothing can be written.
pub async fn run(args: Args) -> Result<(), CliError> {
    for arn in args.controller.iter().chain(&args.planner) {
        if !is_principal(arn) {
            return Err(CliError::usage(format!("`{arn}` is not the ARN of a role or user"))
                .hint("it looks like `arn:aws:iam::123456789012:role/pinion-controller`"));
        }
    }
    if let Some(id) = args.launch_template.iter().find(|id| !is_template(id)) {
        return Err(CliError::usage(format!("`{id}` is not the id of a launch template"))
            .hint("it looks like `lt-0123456789abcdef0`; `aws ec2 describe-launch-templates` lists them"));
    }
    let drafts = drafts(&args)?;
    let roles = matches!(args.kind, None | Some(DocumentKind::Role | DocumentKind::Plan));
    if args.output != Form::Json && roles && drafts.len() > 1 {
        return Err(CliError::usage("a template with roles is for one account")
            .hint("name one environment: `pinion iam prod …`"));
    }
    let any_version = drafts.first().map(|(_, any)| (*any).to_owned()).unwrap_or_default();
    let scopes: Vec<Scope> = drafts.into_iter().map(|(draft, _)| scope(draft)).collect();
    hint(&scopes, &args);
    let set = |given: &[String]| -> BTreeSet<String> { given.iter().cloned().collect() };
    let options = Options {
        controllers: set(&args.controller),
        planners: set(if args.planner.is_empty() { &args.controller } else { &args.planner }),
        plan_role: args.plan_role.clone(),
        task_roles: set(&args.task_role),
        execution_roles: set(&args.execution_role),
        instance_roles: set(&args.instance_role),
        launch_templates: set(&args.launch_template),
        session_tags: args.session_tags,
        any_version,
    };
    let access = iam::generate(&scopes, &options)?;
    match &args.write {
        Some(folder) => write(&access, folder),
        None => Ok(print(&text(&access, &args)?)?),
    }
}

fn text(access: &Access, args: &Args) -> serde_json::Result<String> {
    let part = match args.kind {
        None => Part::All,
        Some(DocumentKind::Role) => Part::Role,
        Some(DocumentKind::Plan) => Part::Plan,
        Some(DocumentKind::Controller) => Part::Controller,
        Some(DocumentKind::Planner) => Part::Planner,
        Some(DocumentKind::Common) => Part::Common,
    };
    match args.output {
        Form::Json => access.json(part),
        Form::Cloudformation => access.cloudformation(part),
        Form::Terraform => access.terraform(part),
    }
}

fn write(access: &Access, folder: &std::path::Path) -> Result<(), CliError> {
    std::fs::create_dir_all(folder).context(|| format!("can't create {}", folder.display()))?;
    for (name, text) in access.files()? {
        let path = folder.join(name);
        std::fs::write(&path, text).context(|| format!("can't write {}", path.display()))?;
    }
    Ok(())
}

/// The environments, with a version that stands for any and what it is. An environment that no such version is legal in
/// is taken with its own versions.
fn drafts(args: &Args) -> Result<Vec<(Draft, &'static str)>, CliError> {
    let folder = manifest::read::folder(&args.dir)?;
    let loaded = manifest::load_with_refused(&folder.files, &folder.refused);
    if let Some(name) = args.environments.iter().find(|name| !loaded.environments.contains_key(*name)) {
        return Err(unknown::environment(name, loaded.environments.keys()));
    }
    let wanted = |name: &EnvironmentName| args.environments.is_empty() || args.environments.contains(name);
    let mut broken = loaded.findings.clone();
    let mut drafts = Vec::new();
    for (name, result) in loaded.environments.iter().filter(|(name, _)| wanted(name)) {
        match result {
            Ok(draft) => drafts.push(draft),
            Err(findings) => {
                broken.extend(findings);
                tracing::debug!(environment = %name, "has findings");
            }
        }
    }
    if !broken.is_empty() {
        output::note(&super::validate::text(&broken, Screen::stderr()));
        return Err(CliError::failed(format!("{}: nothing was generated", words::count(broken.len(), "finding")))
            .hint("`pinion validate` shows the same"));
    }
    for version in ANY_VERSION {
        let mut files = folder.files.clone();
        for draft in &drafts {
            let pins: String = draft.pins().keys().map(|component| format!("{component} = \"{version}\"\n")).collect();
            files.insert(draft.pins_path(), pins.into_bytes());
        }
        let mut again = manifest::load_with_refused(&files, &folder.refused).environments;
        let any: Option<Vec<(Draft, &'static str)>> = drafts
            .iter()
            .map(|draft| again.remove(&draft.name).and_then(Result::ok).map(|draft| (draft, version)))
            .collect();
        if let Some(any) = any {
            return Ok(any);
        }
    }
    Ok(drafts.into_iter().map(|draft| (draft.clone(), "")).collect())
}

fn scope(draft: Draft) -> Scope {
    let alarms = draft.targets.values().any(|target| !target.rollout.alarms.is_empty());
    let newest = draft.targets.iter().any(|(local, target)| local.kind == Kind::Asg && target.base.rule().is_some());
    let targets = draft.targets.into_values().map(|target| target.spec).collect();
    Scope { name: draft.name, account: draft.account, targets, alarms, newest }
}

/// Says what the policies will lack because nobody said it.
fn hint(scopes: &[Scope], args: &Args) {
    let any = |is: fn(&TargetSpec) -> bool| scopes.iter().flat_map(|scope| &scope.targets).any(is);
    if any(|target| matches!(target, TargetSpec::Fargate(_))) && args.execution_role.is_empty() {
        output::note(
            "note: no --execution-role: task definitions with an executionRoleArn can't be registered; name it, and the \
             taskRoleArn as --task-role\n",
        );
    }
    if any(|target| matches!(target, TargetSpec::Asg(_))) && args.launch_template.is_empty() {
        output::note(
            "note: no --launch-template: no version of any can be made, so that no group can be rolled out; name those of \
             the groups, as `aws autoscaling describe-auto-scaling-groups --query \
             'AutoScalingGroups[].[AutoScalingGroupName,LaunchTemplate.LaunchTemplateId]'` shows them\n",
        );
    }
    if any(|target| matches!(target, TargetSpec::Asg(_))) && args.instance_role.is_empty() {
        output::note(
            "note: no --instance-role: launch templates with an instance profile can't be rolled out; name its role\n",
        );
    }
}

fn is_template(id: &str) -> bool {
    id.strip_prefix("lt-").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|one| one.is_ascii_hexdigit()))
}

fn is_principal(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    matches!(parts.as_slice(), ["arn", partition, "iam", "", account, rest]
        if partition.starts_with("aws")
            && account.len() == 12
            && account.bytes().all(|digit| digit.is_ascii_digit())
            && ["role/", "user/"].iter().any(|kind| rest.strip_prefix(kind).is_some_and(|name| !name.is_empty())))
}
