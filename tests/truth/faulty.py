"""Shows that the checks can fail: answers with one thing wrong each, all of which must be found."""

from shapes import Checker

ECS = '{"services":[{"serviceName":"api","status":"ACTIVE","deploymentController":{"type":"ECS"}}],"failures":[]}'
ASG = (
    '<DescribeAutoScalingGroupsResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/">'
    "<DescribeAutoScalingGroupsResult><AutoScalingGroups><member><AutoScalingGroupName>web</AutoScalingGroupName>"
    "<MinSize>1</MinSize><MaxSize>2</MaxSize><DesiredCapacity>1</DesiredCapacity><DefaultCooldown>300</DefaultCooldown>"
    "<AvailabilityZones><member>a</member></AvailabilityZones><HealthCheckType>EC2</HealthCheckType>"
    "<CreatedTime>2026-01-01T00:00:00Z</CreatedTime></member></AutoScalingGroups></DescribeAutoScalingGroupsResult>"
    "<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></DescribeAutoScalingGroupsResponse>"
)
EC2 = (
    '<DescribeImagesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId><imagesSet><item>'
    "<imageId>ami-1</imageId><imageState>available</imageState></item></imagesSet></DescribeImagesResponse>"
)
DENIED = '{"__type":"AccessDeniedException","message":"no"}'
THROTTLED = (
    "<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error>"
    "<RequestId>r</RequestId></ErrorResponse>"
)
GOOD = [
    ("ecs", "DescribeServices", 200, ECS),
    ("autoscaling", "DescribeAutoScalingGroups", 200, ASG),
    ("ec2", "DescribeImages", 200, EC2),
    ("ecs", "UpdateService", 400, DENIED),
    ("autoscaling", "DescribeAutoScalingGroups", 400, THROTTLED),
]
FAULTS = [
    (0, '"ACTIVE"', "1", "no string"),
    (0, "serviceName", "serviceNames", "unknown"),
    (0, '"ECS"', '"NOMAD"', "can't be"),
    (0, '"type":"ECS"', "", "missing"),
    (0, '"failures":[]', '"failures":{}', "no list"),
    (0, '"api"', "null", "null"),
    (1, "<MinSize>1</MinSize>", "", "missing"),
    (1, "<MaxSize>2<", "<MaxSize>two<", "no integer"),
    (1, "<member>a</member>", "<item>a</item>", "not member"),
    (1, "MinSize", "LeastSize", "unknown"),
    (1, "ResponseMetadata", "Metadata", "ResponseMetadata"),
    (2, "available", "ready", "can't be"),
    (2, "<requestId>r</requestId>", "", "requestId"),
    (2, "imagesSet", "images", "unknown"),
    (3, "AccessDeniedException", "Denied", "knows no error"),
    (3, '"message"', '"Message"', "unknown"),
    (4, "Throttling", "SlowDown", "knows no error"),
    (4, "Sender", "Receiver", "Receiver's"),
]


def main():
    checker = Checker()
    for answer in GOOD:
        checker.check(*answer)
    assert not checker.deviations, checker.deviations
    for index, old, new, expected in FAULTS:
        service, operation, status, body = GOOD[index]
        assert old in body, (old, body)
        checker = Checker()
        checker.check(service, operation, status, body.replace(old, new))
        assert any(expected in what for what in checker.deviations), (old, new, expected, checker.deviations)
    print(f"{len(FAULTS)} faults found")


main()
