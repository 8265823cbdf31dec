//! `LaunchTemplateData` between its three spellings: request, model (as kept, and as in world files) and response.

use serde_json::{Map, Value};

/// (request, model, response) where they aren't the same but for the first letter. In requests lists are singular.
const NAMES: &[(&str, &str, &str)] = &[
    ("BlockDeviceMapping", "BlockDeviceMappings", "blockDeviceMappingSet"),
    ("NetworkInterface", "NetworkInterfaces", "networkInterfaceSet"),
    ("TagSpecification", "TagSpecifications", "tagSpecificationSet"),
    ("Tag", "Tags", "tagSet"),
    ("SecurityGroupId", "SecurityGroupIds", "securityGroupIdSet"),
    ("SecurityGroup", "SecurityGroups", "securityGroupSet"),
    ("ElasticGpuSpecification", "ElasticGpuSpecifications", "elasticGpuSpecificationSet"),
    ("ElasticInferenceAccelerator", "ElasticInferenceAccelerators", "elasticInferenceAcceleratorSet"),
    ("LicenseSpecification", "LicenseSpecifications", "licenseSet"),
    ("SecondaryInterface", "SecondaryInterfaces", "secondaryInterfaceSet"),
    ("PrivateIpAddresses", "PrivateIpAddresses", "privateIpAddressesSet"),
    ("Ipv6Addresses", "Ipv6Addresses", "ipv6AddressesSet"),
];

/// Within a network interface the groups are spelt otherwise.
const INTERFACE_GROUPS: (&str, &str, &str) = ("SecurityGroupId", "Groups", "groupSet");

/// Request parameters to model names.
pub(super) fn from_request(data: &Value) -> Map<String, Value> {
    convert(data, &|name, parent| {
        if parent == "NetworkInterface" && name == INTERFACE_GROUPS.0 {
            return INTERFACE_GROUPS.1.to_owned();
        }
        let known = NAMES.iter().find(|(request, _, _)| *request == name);
        known.map_or(name, |(_, model, _)| model).to_owned()
    })
}

/// Model names to response elements.
pub(super) fn to_response(data: &Map<String, Value>) -> Map<String, Value> {
    convert(&Value::Object(data.clone()), &|name, parent| {
        if parent == "NetworkInterfaces" && name == INTERFACE_GROUPS.1 {
            return INTERFACE_GROUPS.2.to_owned();
        }
        match NAMES.iter().find(|(_, model, _)| *model == name) {
            Some((_, _, response)) => (*response).to_owned(),
            None => {
                let mut name = name.to_owned();
                if let Some(first) = name.get_mut(..1) {
                    first.make_ascii_lowercase();
                }
                name
            }
        }
    })
}

fn convert(data: &Value, rename: &impl Fn(&str, &str) -> String) -> Map<String, Value> {
    fn go(value: &Value, parent: &str, rename: &impl Fn(&str, &str) -> String) -> Value {
        match value {
            Value::Object(map) => {
                Value::Object(map.iter().map(|(name, value)| (rename(name, parent), go(value, name, rename))).collect())
            }
            Value::Array(all) => all.iter().map(|one| go(one, parent, rename)).collect(),
            other => other.clone(),
        }
    }
    match go(data, "", rename) {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{from_request, to_response};

    #[test]
    fn spellings() {
        let request = json!({
            "ImageId": "ami-1",
            "SecurityGroupId": ["sg-1"],
            "TagSpecification": [{ "ResourceType": "instance", "Tag": [{ "Key": "a", "Value": "" }] }],
            "NetworkInterface": [{ "DeviceIndex": "0", "SecurityGroupId": ["sg-2"] }],
        });
        let model = from_request(&request);
        let expected = json!({
            "ImageId": "ami-1",
            "SecurityGroupIds": ["sg-1"],
            "TagSpecifications": [{ "ResourceType": "instance", "Tags": [{ "Key": "a", "Value": "" }] }],
            "NetworkInterfaces": [{ "DeviceIndex": "0", "Groups": ["sg-2"] }],
        });
        assert_eq!(Value::Object(model.clone()), expected);
        let expected = json!({
            "imageId": "ami-1",
            "securityGroupIdSet": ["sg-1"],
            "tagSpecificationSet": [{ "resourceType": "instance", "tagSet": [{ "key": "a", "value": "" }] }],
            "networkInterfaceSet": [{ "deviceIndex": "0", "groupSet": ["sg-2"] }],
        });
        assert_eq!(Value::Object(to_response(&model)), expected);
    }
}
