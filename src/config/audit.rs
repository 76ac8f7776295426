//! The section `audit`: what the audit judges by beside what namespaces ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_saphyr::Spanned;

/// The policy that everything is judged by when nobody says.
pub const DEFAULT: &str = "strict";

/// The label by which Argo CD tracks, unless its `application.instanceLabelKey` says otherwise.
pub const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";

/// What the configuration says of audits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditTerms {
    /// Policies that every object is judged by beside the grants of its namespace, recorded in no mode: so it is known
    /// what could be enforced.
    pub policies: Vec<Arc<str>>,
    /// The label by which Argo CD tracks what it delivers, where it does so by a label.
    pub instance_label: Arc<str>,
}

impl Default for AuditTerms {
    fn default() -> Self {
        Self { policies: vec![DEFAULT.into()], instance_label: INSTANCE_LABEL.into() }
    }
}

impl AuditTerms {
    /// Returns each policy with the place where it is named: `audit.policies[0]`.
    pub fn named_policies(&self) -> impl Iterator<Item = (String, Arc<str>)> {
        self.policies.iter().enumerate().map(|(index, name)| (place(index), name.clone()))
    }

    /// Returns the policy whose rules are the first to be enforced: the first that everything is judged by.
    pub fn first(&self) -> &str {
        self.policies.first().map_or(DEFAULT, |policy| policy)
    }
}

fn place(index: usize) -> String {
    format!("audit.policies[{index}]")
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct AuditText {
    policies: Option<Vec<Spanned<String>>>,
    instance_label_key: Option<String>,
}

impl AuditText {
    /// Reads the section, and notes the line of each policy; whether they exist only the rules in force can say.
    pub(super) fn convert(self, lines: &mut BTreeMap<String, u64>) -> AuditTerms {
        let mut terms = AuditTerms::default();
        if let Some(written) = self.policies {
            let named = written.iter().enumerate();
            lines.extend(named.map(|(index, name)| (place(index), name.referenced.line())));
            terms.policies = written.into_iter().map(|name| name.value.into()).collect();
        }
        if let Some(key) = self.instance_label_key {
            terms.instance_label = key.into();
        }
        terms
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    #[test]
    fn what_the_audit_judges_by_is_strict_unless_somebody_says_otherwise() {
        let read = |text| Config::parse(Path::new("gatepost.yaml"), text).map(|config| config.audit);
        for (text, policies, first) in [
            ("", &["strict"][..], "strict"),
            ("audit: {}", &["strict"], "strict"),
            ("audit: {policies: }", &["strict"], "strict"),
            ("audit: {policies: []}", &[], "strict"),
            ("audit: {policies: [mine, recommended]}", &["mine", "recommended"], "mine"),
        ] {
            let terms = read(text).expect(text);
            assert_eq!(terms.policies.iter().map(|name| &**name).collect::<Vec<_>>(), policies, "{text}");
            assert_eq!(terms.first(), first, "{text}");
            assert_eq!(&*terms.instance_label, "app.kubernetes.io/instance", "{text}");
        }
        let terms = read("audit: {instanceLabelKey: argocd.argoproj.io/instance}").expect("a label");
        assert_eq!((&*terms.instance_label, terms.first()), ("argocd.argoproj.io/instance", "strict"));
        for (text, cause) in [
            ("\naudit: {policys: []}", "did you mean `policies`?"),
            ("\naudit: {policies: strict}", "gatepost.yaml:2: "),
            ("audits: {}", "did you mean `audit`?"),
        ] {
            let fault = read(text).expect_err(text).to_string();
            assert!(fault.contains(cause), "{text}: {fault}");
        }
    }
}
