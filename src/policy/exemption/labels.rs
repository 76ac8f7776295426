//! Label selectors as Kubernetes writes them (`meta/v1` LabelSelector).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Selects by labels; everything that it asks must hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LabelSelector {
    /// Labels that must have these values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// What is asked of it.
    pub operator: Operator,
    /// The values that are meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// What is asked of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operator {
    /// It has one of the values.
    In,
    /// It has none of the values, or is not there.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

impl LabelSelector {
    /// Checks it; the error says what is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.match_labels.is_empty() && self.match_expressions.is_empty() {
            return Err("asks for no label; leave it out to mean every object".into());
        }
        for Requirement { key, operator, values } in &self.match_expressions {
            let takes_values = matches!(operator, Operator::In | Operator::NotIn);
            if takes_values == values.is_empty() {
                let values = if takes_values { "needs values" } else { "takes no values" };
                return Err(format!("matchExpressions: {operator:?} of \"{key}\" {values}"));
            }
        }
        Ok(())
    }

    /// Returns whether an object with these labels is selected.
    pub(super) fn matches<'l>(&self, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        let has = |requirement: &Requirement| {
            let found = label(&requirement.key);
            let is_one = found.is_some_and(|found| requirement.values.iter().any(|value| value == found));
            match requirement.operator {
                Operator::In => is_one,
                Operator::NotIn => !is_one,
                Operator::Exists => found.is_some(),
                Operator::DoesNotExist => found.is_none(),
            }
        };
        self.match_labels.iter().all(|(key, value)| label(key) == Some(value)) && self.match_expressions.iter().all(has)
    }
}
