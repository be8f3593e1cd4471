"""What a test asks of buckets, and what it knows of signatures, by botocore: bucket.py WHAT ..."""

import sys
from urllib.parse import parse_qsl, urlsplit

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials


def client(endpoint):
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key="secret",
        config=botocore.config.Config(s3={"addressing_style": "path"}),
    )


def make(endpoint, bucket):
    client(endpoint).create_bucket(Bucket=bucket)


def put(endpoint, bucket, key, file):
    client(endpoint).upload_file(file, bucket, key)


def get(endpoint, bucket, key, file):
    client(endpoint).download_file(bucket, key, file)


def names(endpoint, bucket):
    """The keys of a bucket, and of the uploads that never became an object."""
    s3 = client(endpoint)
    for it in s3.list_objects_v2(Bucket=bucket).get("Contents", []):
        print("object", it["Key"])
    for it in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
        print("upload", it["Key"])


def sign(method, url, region, key, secret, token):
    """The signature that a signed URL must have."""
    query = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    pairs = [it for it in urlsplit(url).query.split("&") if not it.startswith("X-Amz-Signature=")]
    bare = url.split("?")[0] + "?" + "&".join(pairs)
    credentials = botocore.credentials.Credentials(key, secret, token or None)
    auth = botocore.auth.S3SigV4QueryAuth(credentials, "s3", region)
    request = botocore.awsrequest.AWSRequest(method=method, url=bare)
    request.context["timestamp"] = query["X-Amz-Date"]
    assert query.get("X-Amz-Security-Token", "") == token, query
    text = auth.string_to_sign(request, auth.canonical_request(request))
    print(auth.signature(text, request))


globals()[sys.argv[1]](*sys.argv[2:])
