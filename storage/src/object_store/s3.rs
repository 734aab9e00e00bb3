//! A bucket as the store: how it is named and reached, and whether it can be one. Not a client: that is `object_store`'s own.
//!
//! What the store needs of a bucket is tried out when it is opened, above all that of two create-only puts the second is refused: that put is
//! the commit point and the fence.

mod own_puts;
mod trial;

use super::{Place, Store, bad};
use crate::error::StorageError;
use crate::steps::Steps;
use afferent_engine::error::{ErrorKind, Result};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, S3ConditionalPut};
use object_store::client::SpawnedReqwestConnector;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig, StaticCredentialProvider};
use own_puts::OwnPuts;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use url::Url;

/// The scheme of a bucket's address.
pub const S3_SCHEME: &str = "s3";

/// Tries of one request after the first.
const RETRIES_MAX: usize = 4;

/// Waits between tries: the first, and the longest.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// A connection that is not there by then is not coming.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How long a start waits for the service.
const START_WAIT: Duration = Duration::from_secs(20);

/// Certificates of a file that is bigger than this are not read.
const CA_BYTES_MAX: u64 = 1 << 20;

/// A bucket, and how to reach it. What is `None` comes from the environment (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, ...), keys that
/// are nowhere from the role of the machine.
#[derive(Clone)]
pub struct Bucket {
    /// The bucket.
    pub name: String,
    /// The folder in it; empty for the whole bucket.
    pub prefix: String,
    /// Address of the service, `https://minio.example:9000`; without one, AWS.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: Option<String>,
    /// Certificates (PEM) of who signed the service's own, where the system does not know them.
    pub ca_file: Option<PathBuf>,
    /// The access key and its secret.
    pub keys: Option<(String, String)>,
    /// Longest request.
    pub timeout: Duration,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys = self.keys.as_ref().map(|(id, _)| id.as_str());
        let Self { name, prefix, endpoint, region, ca_file, timeout, .. } = self;
        write!(f, "Bucket({name}/{prefix} at {endpoint:?}, region {region:?}, certificates {ca_file:?}, key {keys:?}, timeout {timeout:?})")
    }
}

impl Bucket {
    /// Bucket and folder of `s3://BUCKET/PREFIX`, with everything else from the environment.
    ///
    /// # Errors
    /// `Invalid` where the address is none.
    pub fn parse(address: &str, timeout: Duration) -> Result<Self> {
        let wrong = |why: &str| bad(address, format!("{why}; write s3://BUCKET/PREFIX"));
        let rest = address.strip_prefix("s3://").ok_or_else(|| wrong("not an address of a bucket"))?;
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if !(3..=63).contains(&name.len()) || !name.chars().all(plain) {
            return Err(wrong("a bucket's name has 3 to 63 small letters, digits, dots and hyphens").into());
        }
        let prefix = Path::parse(prefix.trim_matches('/')).map_err(|e| wrong(&e.to_string()))?;
        let (name, prefix) = (name.to_owned(), prefix.to_string());
        Ok(Self { name, prefix, endpoint: None, region: None, ca_file: None, keys: None, timeout })
    }

    /// `s3://BUCKET/PREFIX`.
    pub fn address(&self) -> String {
        format!("{S3_SCHEME}://{}/{}", self.name, self.prefix).trim_end_matches('/').to_owned()
    }

    fn bad(&self, reason: impl Into<String>) -> StorageError {
        bad(&self.address(), reason.into())
    }

    fn builder(&self) -> Result<AmazonS3Builder, StorageError> {
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(&self.name);
        if let Some(endpoint) = &self.endpoint {
            // The more special variable would have the last word.
            builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
        }
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        if let Some((key_id, secret_key)) = &self.keys {
            // A session token of the environment belongs to the keys of the environment.
            let keys = AwsCredential { key_id: key_id.clone(), secret_key: secret_key.clone(), token: None };
            builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(keys)));
        }
        // Inside the network of a store nobody listens in; whoever writes http:// says so.
        let endpoint = self.endpoint_of(&builder);
        if let Some(endpoint) = endpoint.as_ref().filter(|endpoint| !endpoint.starts_with("http://") && !endpoint.starts_with("https://")) {
            return Err(self.bad(format!("the endpoint {endpoint:?} is not http://HOST:PORT or https://HOST:PORT")));
        }
        let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
        Ok(builder
            .with_virtual_hosted_style_request(false)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_client_options(self.client()?.with_allow_http(plain))
            .with_retry(self.retries())
            // A connection lives on the threads that made it, and those of the engine are busy for long.
            .with_http_connector(SpawnedReqwestConnector::new(Handle::current())))
    }

    /// Where requests go, if not to AWS.
    fn endpoint_of(&self, builder: &AmazonS3Builder) -> Option<String> {
        let keys = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
        keys.iter().find_map(|key| builder.get_config_value(key))
    }

    fn client(&self) -> Result<ClientOptions, StorageError> {
        let mut client = ClientOptions::new().with_timeout(self.timeout).with_connect_timeout(self.timeout.min(CONNECT_MAX));
        for certificate in self.certificates()? {
            client = client.with_root_certificate(certificate);
        }
        Ok(client)
    }

    fn certificates(&self) -> Result<Vec<Certificate>, StorageError> {
        let Some(file) = &self.ca_file else { return Ok(Vec::new()) };
        let unusable = |why: String| self.bad(format!("the certificates in {} cannot be used: {why}", file.display()));
        let size_bytes = std::fs::metadata(file).map_err(|e| unusable(e.to_string()))?.len();
        if size_bytes > CA_BYTES_MAX {
            return Err(unusable(format!("{size_bytes} bytes are more than {CA_BYTES_MAX}")));
        }
        let text = std::fs::read(file).map_err(|e| unusable(e.to_string()))?;
        let found = Certificate::from_pem_bundle(&text).map_err(|e| unusable(e.to_string()))?;
        if found.is_empty() { Err(unusable("it holds none in PEM form".to_owned())) } else { Ok(found) }
    }

    /// No try begins after half of a request's time, so that an outage is told after one and a half at most.
    fn retries(&self) -> RetryConfig {
        let backoff = BackoffConfig { init_backoff: BACKOFF_FIRST, max_backoff: BACKOFF_MAX, base: 2.0 };
        RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: self.timeout / 2 }
    }

    /// Opens the store and tries out what it needs of the bucket. Must be called within a runtime, which does its input and output.
    ///
    /// # Errors
    /// `Invalid` for keys, bucket, rights and certificates, with what to check, and for a service that lets a create-only put overwrite;
    /// `Unavailable` where it does not answer.
    pub async fn open(&self) -> Result<Store> {
        let builder = self.builder()?;
        let endpoint = self.endpoint_of(&builder);
        let client = builder.build().map_err(|e| self.bad(e.to_string()))?;
        let objects: Arc<dyn ObjectStore> = Arc::new(OwnPuts::new(PrefixStore::new(client, self.prefix.as_str())));
        trial::run(&*objects, self, endpoint.as_deref()).await?;
        self.store(objects, endpoint.as_deref().unwrap_or_default())
    }

    /// The same at the start of a program: one that comes up together with its store waits for it for [`START_WAIT`], and says so.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_waiting(&self) -> Result<Store> {
        let began = Instant::now();
        let mut said = false;
        loop {
            match self.open().await {
                Err(error) if error.kind() == ErrorKind::Unavailable && began.elapsed() < START_WAIT => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::warn!(bucket = self.address(), %error, wait_s = START_WAIT.as_secs(), "waiting for the bucket");
                    }
                    tokio::time::sleep(BACKOFF_MAX).await;
                }
                opened => return opened,
            }
        }
    }

    fn store(&self, objects: Arc<dyn ObjectStore>, endpoint: &str) -> Result<Store> {
        let address = self.address();
        let host = crc32c::crc32c(format!("{endpoint} {address}").as_bytes());
        let url = Url::parse(&format!("{}://bucket-{host:08x}/", super::SCHEME)).map_err(|e| self.bad(e.to_string()))?;
        Ok(Store { objects, url, shown: address.into(), pins: Arc::default(), place: Place::Bucket(Arc::default()), steps: Steps::default() })
    }
}

#[cfg(test)]
mod tests;
