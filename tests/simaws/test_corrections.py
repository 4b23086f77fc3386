"""What moto is corrected in. Each test runs twice: it holds with the correction, and moto alone fails it."""

import io
import json
import urllib.error
import urllib.request
import uuid
import zipfile
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError

from simaws import SimulatedAws

ROLE = "arn:aws:iam::123456789012:role/any"


def unique(word: str) -> str:
    return f"{word}-{uuid.uuid4().hex[:8]}"


def test_a_scalable_target_has_the_tags_it_was_given(aws: SimulatedAws) -> None:
    ecs, scaling = aws.client("ecs"), aws.client("application-autoscaling")
    cluster, service = unique("cluster"), unique("service")
    ecs.create_cluster(clusterName=cluster)
    task = ecs.register_task_definition(family=service, containerDefinitions=[{"name": "a", "image": "b", "memory": 8}])
    ecs.create_service(
        cluster=cluster, serviceName=service, desiredCount=1,
        taskDefinition=task["taskDefinition"]["taskDefinitionArn"],
    )  # fmt: skip
    arn = scaling.register_scalable_target(
        ServiceNamespace="ecs", ResourceId=f"service/{cluster}/{service}", ScalableDimension="ecs:service:DesiredCount",
        MinCapacity=1, MaxCapacity=2, Tags={"a": "1"},
    )["ScalableTargetARN"]  # fmt: skip
    scaling.tag_resource(ResourceARN=arn, Tags={"b": "2"})
    scaling.untag_resource(ResourceARN=arn, TagKeys=["a"])
    assert scaling.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"b": "2"}


def backup_plan(aws: SimulatedAws) -> tuple[str, str]:
    backup = aws.client("backup")
    vault = unique("vault")
    backup.create_backup_vault(BackupVaultName=vault)
    rule = {"RuleName": "monthly", "TargetBackupVaultName": vault, "ScheduleExpression": "cron(0 3 1 * ? *)"}
    made = backup.create_backup_plan(
        BackupPlan={"BackupPlanName": unique("plan"), "Rules": [rule]}, BackupPlanTags={"Project": "penstock"}
    )
    return made["BackupPlanId"], made["BackupPlanArn"]


def test_a_backup_plan_selects_until_the_selection_is_deleted(aws: SimulatedAws) -> None:
    backup = aws.client("backup")
    plan, _ = backup_plan(aws)
    wanted = {"SelectionName": "all", "IamRoleArn": ROLE, "Resources": ["arn:aws:rds:*:*:db:one"]}
    made = backup.create_backup_selection(BackupPlanId=plan, BackupSelection=wanted)
    found = {"BackupPlanId": plan, "SelectionId": made["SelectionId"]}
    assert backup.get_backup_selection(**found)["BackupSelection"]["Resources"] == wanted["Resources"]
    backup.delete_backup_selection(**found)
    with pytest.raises(ClientError, match="Cannot find Backup selection"):
        backup.get_backup_selection(**found)


def test_a_backup_vault_tells_of_its_recovery_points(aws: SimulatedAws) -> None:
    backup = aws.client("backup")
    vault = unique("vault")
    backup.create_backup_vault(BackupVaultName=vault)
    assert backup.list_recovery_points_by_backup_vault(BackupVaultName=vault)["RecoveryPoints"] == []


def test_a_backup_plan_has_the_tags_it_was_given(aws: SimulatedAws) -> None:
    """Asked as Terraform asks: botocore ends the path in a slash, which moto counts on."""
    _, arn = backup_plan(aws)
    signed = {"Authorization": f"AWS4-HMAC-SHA256 Credential=simulated/20260101/{aws.region}/backup/aws4_request"}
    asked = urllib.request.Request(f"{aws.url}/tags/{quote(arn, safe='')}", headers=signed)
    try:
        with urllib.request.urlopen(asked) as answer:
            assert json.load(answer)["Tags"] == {"Project": "penstock"}
    except urllib.error.HTTPError as refused:
        pytest.fail(f"{refused.code}")


def test_a_codedeploy_application_and_its_groups_can_be_deleted(aws: SimulatedAws) -> None:
    deploy = aws.client("codedeploy")
    name, group = unique("application"), unique("group")
    deploy.create_application(applicationName=name, computePlatform="ECS")
    deploy.create_deployment_group(applicationName=name, deploymentGroupName=group, serviceRoleArn=ROLE)
    deploy.delete_deployment_group(applicationName=name, deploymentGroupName=group)
    assert deploy.list_deployment_groups(applicationName=name)["deploymentGroups"] == []
    deploy.delete_application(applicationName=name)
    assert name not in deploy.list_applications()["applications"]


def test_a_rule_that_names_a_group_keeps_its_description(aws: SimulatedAws) -> None:
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName=unique("group"), Description="d", VpcId=vpc)["GroupId"]
    asked = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432}
    asked["UserIdGroupPairs"] = [{"GroupId": group, "Description": "tasks to database"}]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[asked])
    rules = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]
    assert [rule.get("Description") for rule in rules if not rule["IsEgress"]] == ["tasks to database"]


def test_a_rule_that_names_a_prefix_list_keeps_its_description(aws: SimulatedAws) -> None:
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName=unique("group"), Description="d", VpcId=vpc)["GroupId"]
    asked = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}
    asked["PrefixListIds"] = [{"PrefixListId": "pl-1", "Description": "tasks to S3"}]
    made = ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[asked])["SecurityGroupRules"]
    assert [rule.get("Description") for rule in made] == ["tasks to S3"]


def test_a_service_is_read_back_as_it_was_described(aws: SimulatedAws) -> None:
    ecs = aws.client("ecs")
    cluster, name = unique("cluster"), unique("service")
    ecs.create_cluster(clusterName=cluster)
    ecs.register_task_definition(family=name, containerDefinitions=[{"name": "a", "image": "b", "memory": 8}])
    ecs.create_service(
        cluster=cluster, serviceName=name, taskDefinition=name, desiredCount=1,
        healthCheckGracePeriodSeconds=30, availabilityZoneRebalancing="ENABLED", enableECSManagedTags=True,
    )  # fmt: skip
    (found,) = ecs.describe_services(cluster=cluster, services=[name])["services"]
    assert found["healthCheckGracePeriodSeconds"] == 30
    assert found["availabilityZoneRebalancing"] == "ENABLED"
    assert found["enableECSManagedTags"] is True
    ecs.update_service(cluster=cluster, service=name, healthCheckGracePeriodSeconds=60)
    (found,) = ecs.describe_services(cluster=cluster, services=[name])["services"]
    assert found["healthCheckGracePeriodSeconds"] == 60


def test_a_file_systems_policy_can_be_deleted(aws: SimulatedAws) -> None:
    efs = aws.client("efs")
    identifier = efs.create_file_system(CreationToken=unique("token"))["FileSystemId"]
    efs.put_file_system_policy(FileSystemId=identifier, Policy=json.dumps({"Version": "2012-10-17", "Statement": []}))
    efs.delete_file_system_policy(FileSystemId=identifier)
    with pytest.raises(ClientError, match="PolicyNotFound"):
        efs.describe_file_system_policy(FileSystemId=identifier)


def test_a_stream_has_the_tags_it_was_created_with(aws: SimulatedAws) -> None:
    kinesis = aws.client("kinesis")
    name = unique("stream")
    kinesis.create_stream(StreamName=name, ShardCount=1, Tags={"Project": "penstock"})
    assert kinesis.list_tags_for_stream(StreamName=name)["Tags"] == [{"Key": "Project", "Value": "penstock"}]


def database_instance(aws: SimulatedAws, **asked: object) -> dict[str, object]:
    rds = aws.client("rds")
    made: dict[str, object] = rds.create_db_instance(
        DBInstanceIdentifier=unique("database"), DBInstanceClass="db.t4g.medium", Engine="postgres",
        MasterUsername="owner", MasterUserPassword="not-a-secret", AllocatedStorage=20, **asked,
    )["DBInstance"]  # fmt: skip
    return made


def test_database_instances_are_told_apart_by_their_resource_id(aws: SimulatedAws) -> None:
    assert database_instance(aws)["DbiResourceId"] != database_instance(aws)["DbiResourceId"]


def test_performance_insights_are_read_back(aws: SimulatedAws) -> None:
    made = database_instance(aws, EnablePerformanceInsights=True, PerformanceInsightsKMSKeyId="arn:aws:kms:x:1:key/k")
    assert made["PerformanceInsightsEnabled"] is True
    assert made["PerformanceInsightsKMSKeyId"] == "arn:aws:kms:x:1:key/k"


def test_a_parameter_that_was_set_says_that_a_user_did(aws: SimulatedAws) -> None:
    rds = aws.client("rds")
    name = unique("parameters")
    rds.create_db_parameter_group(DBParameterGroupName=name, DBParameterGroupFamily="postgres16", Description="d")
    wanted = {"ParameterName": "rds.force_ssl", "ParameterValue": "1", "ApplyMethod": "immediate"}
    rds.modify_db_parameter_group(DBParameterGroupName=name, Parameters=[wanted])
    (found,) = rds.describe_db_parameters(DBParameterGroupName=name, Source="user")["Parameters"]
    assert (found["ParameterName"], found["ParameterValue"], found["Source"]) == ("rds.force_ssl", "1", "user")


def test_only_a_serverless_v1_cluster_has_a_scaling_configuration(aws: SimulatedAws) -> None:
    rds = aws.client("rds")
    made = rds.create_db_cluster(
        DBClusterIdentifier=unique("cluster"), Engine="aurora-postgresql", EngineMode="provisioned",
        MasterUsername="owner", MasterUserPassword="not-a-secret",
        ServerlessV2ScalingConfiguration={"MinCapacity": 0.5, "MaxCapacity": 1.0},
    )["DBCluster"]  # fmt: skip
    assert "ScalingConfigurationInfo" not in made


def test_an_aurora_cluster_has_a_data_api(aws: SimulatedAws) -> None:
    made = aws.client("rds").create_db_cluster(
        DBClusterIdentifier=unique("cluster"), Engine="aurora-postgresql", EngineVersion="16.4",
        MasterUsername="owner", MasterUserPassword="not-a-secret", EnableHttpEndpoint=True,
    )  # fmt: skip
    assert made["DBCluster"]["HttpEndpointEnabled"] is True


def test_a_tls_only_bucket_serves_who_comes_by_tls(aws: SimulatedAws) -> None:
    s3 = aws.client("s3")
    bucket = unique("bucket")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": aws.region})
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{bucket}/*"}
    only_tls = denied | {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [only_tls]}))
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_a_bucket_logs_to_where_a_policy_of_several_services_lets_it(aws: SimulatedAws) -> None:
    s3 = aws.client("s3")
    logs, logged = unique("logs"), unique("logged")
    for bucket in (logs, logged):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": aws.region})
    services = ["delivery.logs.amazonaws.com", "logging.s3.amazonaws.com"]
    allowed = {"Effect": "Allow", "Principal": {"Service": services}, "Action": ["s3:PutObject"]}
    allowed["Resource"] = [f"arn:aws:s3:::{logs}/*"]
    s3.put_bucket_policy(Bucket=logs, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}))
    wanted = {"TargetBucket": logs, "TargetPrefix": "archive/"}
    s3.put_bucket_logging(Bucket=logged, BucketLoggingStatus={"LoggingEnabled": wanted})
    assert s3.get_bucket_logging(Bucket=logged)["LoggingEnabled"]["TargetBucket"] == logs


def test_a_bucket_that_tells_eventbridge_says_so(aws: SimulatedAws) -> None:
    s3 = aws.client("s3")
    bucket = unique("bucket")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": aws.region})
    wanted = {"EventBridgeConfiguration": {}}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=wanted)
    assert "EventBridgeConfiguration" in s3.get_bucket_notification_configuration(Bucket=bucket)


def test_a_bucket_with_objects_can_be_given_a_lock(aws: SimulatedAws) -> None:
    s3 = aws.client("s3")
    bucket = unique("bucket")
    s3.create_bucket(
        Bucket=bucket, ObjectLockEnabledForBucket=True, CreateBucketConfiguration={"LocationConstraint": aws.region}
    )
    s3.put_object(Bucket=bucket, Key="before", Body=b"x")
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 2557}}
    s3.put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    s3.put_object(Bucket=bucket, Key="after", Body=b"x")
    until = s3.head_object(Bucket=bucket, Key="after")["ObjectLockRetainUntilDate"]
    assert until - datetime.now(UTC) > timedelta(days=2555)


def test_a_rotation_without_a_lambda_can_be_cancelled(aws: SimulatedAws) -> None:
    secrets = aws.client("secretsmanager")
    arn = secrets.create_secret(Name=unique("secret"), SecretString="x")["ARN"]
    secrets.rotate_secret(SecretId=arn, RotationRules={"AutomaticallyAfterDays": 30})
    secrets.cancel_rotate_secret(SecretId=arn)
    assert not secrets.describe_secret(SecretId=arn).get("RotationEnabled")


def function(aws: SimulatedAws, **asked: object) -> str:
    """A function's ARN; its code does nothing."""
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = aws.client("iam").create_role(RoleName=unique("role"), AssumeRolePolicyDocument=policy)["Role"]["Arn"]
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as package:
        package.writestr("rotate.py", "def rotate(event, context): ...")
    made = aws.client("lambda").create_function(
        FunctionName=unique("function"), Runtime="python3.12", Handler="rotate.rotate", Role=role,
        Code={"ZipFile": code.getvalue()}, **asked,
    )  # fmt: skip
    return str(made["FunctionArn"])


def test_a_functions_dead_letters_are_read_back(aws: SimulatedAws) -> None:
    wanted = {"TargetArn": "arn:aws:sqs:eu-west-2:123456789012:dead"}
    arn = function(aws, DeadLetterConfig=wanted)
    assert aws.client("lambda").get_function(FunctionName=arn)["Configuration"]["DeadLetterConfig"] == wanted


def test_a_rotation_by_lambda_is_set_up_without_docker_and_changes_nothing_yet(aws: SimulatedAws) -> None:
    secrets = aws.client("secretsmanager")
    arn = secrets.create_secret(Name=unique("secret"), SecretString="first")["ARN"]
    secrets.rotate_secret(
        SecretId=arn, RotationLambdaARN=function(aws), RotateImmediately=False,
        RotationRules={"AutomaticallyAfterDays": 30},
    )  # fmt: skip
    assert secrets.describe_secret(SecretId=arn)["RotationEnabled"] is True
    assert secrets.get_secret_value(SecretId=arn, VersionStage="AWSCURRENT")["SecretString"] == "first"


def test_an_apis_binary_media_types_are_read_back(aws: SimulatedAws) -> None:
    api = aws.client("apigateway")
    made = api.create_rest_api(name=unique("api"), binaryMediaTypes=["application/zstd"])
    assert made["binaryMediaTypes"] == ["application/zstd"]
    assert api.get_rest_api(restApiId=made["id"])["binaryMediaTypes"] == ["application/zstd"]


def test_the_link_that_an_integration_goes_by_is_read_back(aws: SimulatedAws) -> None:
    api = aws.client("apigateway")
    made = api.create_rest_api(name=unique("api"))
    place = {"restApiId": made["id"], "resourceId": made["rootResourceId"], "httpMethod": "POST"}
    api.put_method(**place, authorizationType="NONE")
    by = {"connectionType": "VPC_LINK", "connectionId": "link-1"}
    api.put_integration(**place, type="HTTP_PROXY", integrationHttpMethod="POST", uri="https://door/", **by)
    assert api.get_integration(**place)["connectionId"] == "link-1"


def test_the_alarms_that_stop_a_deployment_are_read_back(aws: SimulatedAws) -> None:
    deploy = aws.client("codedeploy")
    name, group = unique("application"), unique("group")
    deploy.create_application(applicationName=name, computePlatform="ECS")
    alarms = {"enabled": True, "alarms": [{"name": "errors"}], "ignorePollAlarmFailure": False}
    deploy.create_deployment_group(
        applicationName=name, deploymentGroupName=group, serviceRoleArn=ROLE, alarmConfiguration=alarms
    )
    found = deploy.get_deployment_group(applicationName=name, deploymentGroupName=group)["deploymentGroupInfo"]
    assert found["alarmConfiguration"] == alarms


def test_whether_a_private_link_passes_security_groups_is_read_back(aws: SimulatedAws) -> None:
    ec2, balancers = aws.client("ec2"), aws.client("elbv2")
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.7.0.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName=unique("group"), Description="d", VpcId=vpc)["GroupId"]
    asked = {"Type": "network", "Subnets": [subnet], "SecurityGroups": [group]}
    arn = balancers.create_load_balancer(Name=unique("link"), **asked)["LoadBalancers"][0]["LoadBalancerArn"]
    balancers.set_security_groups(
        LoadBalancerArn=arn, SecurityGroups=[group], EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic="off"
    )
    (found,) = balancers.describe_load_balancers(LoadBalancerArns=[arn])["LoadBalancers"]
    assert found["EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic"] == "off"
