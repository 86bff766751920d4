//! A Kafka broker of a test's own, which wants TLS and a password.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    certificates::Authority,
    eventually::eventually,
    kafka::Kafka,
    process::{Command, Process, find_program},
    redis_server::free_port,
    services::{require, skip},
};

const HOST: &str = "127.0.0.1";
const USER: &str = "shop";
/// Java starts slowly where much else runs.
const START_LIMIT: Duration = Duration::from_secs(90);

/// A broker with a SASL_SSL listener, beside one without TLS for the test's own eyes.
pub struct SecuredKafka {
    // Ended before its folder goes.
    process: Process,
    folder: TempDir,
    port: u16,
    plain_port: u16,
}

impl SecuredKafka {
    /// What its user says to prove itself.
    pub const PASSWORD: &str = "open-sesame-7";

    /// Starts it; `None` if Kafka isn't installed on this machine and need not be.
    pub fn start() -> Option<Self> {
        let jars = PathBuf::from(require("TIDEWRIGHT_TEST_KAFKA_JARS")?);
        if find_program("java").is_none() {
            return skip("java is not installed");
        }
        let folder = TempDir::new().unwrap();
        let (port, plain_port) = (free_port(), free_port());
        let settings = write_settings(folder.path(), port, plain_port);
        format(folder.path(), &jars, &settings);
        let process = java(folder.path(), &jars, &["-Xms128m", "-Xmx512m"])
            .arg("kafka.Kafka")
            .arg(&settings)
            .start();
        let mut broker = Self {
            process,
            folder,
            port,
            plain_port,
        };
        eventually(START_LIMIT, "Kafka answers", || {
            assert!(broker.process.is_running(), "Kafka has ended");
            broker.kafka().is_up().then_some(())
        });
        Some(broker)
    }

    /// A folder for the test's files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its topics, seen without TLS.
    pub fn kafka(&self) -> Kafka {
        Kafka::at(&format!("{HOST}:{}", self.plain_port))
    }

    /// The bootstrap server with TLS.
    pub fn brokers(&self) -> String {
        format!("{HOST}:{}", self.port)
    }

    /// The authority that has signed its certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder().join("house-ca.pem")
    }

    /// `properties` of a source or sink.
    pub fn properties(&self, mechanism: &str, ca: &Path, password: &str) -> Value {
        json!({
            "security.protocol": "sasl_ssl",
            "ssl.ca.location": ca,
            "sasl.mechanism": mechanism,
            "sasl.username": USER,
            "sasl.password": password,
        })
    }
}

fn java(folder: &Path, jars: &Path, options: &[&str]) -> Command {
    let mut classpath = jars.as_os_str().to_owned();
    classpath.push("/*");
    Command::program("java", folder)
        .args(["-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"])
        .args(options)
        .arg("-cp")
        .arg(classpath)
}

/// Makes its data folder, and the user for SCRAM; PLAIN's is in the settings.
fn format(folder: &Path, jars: &Path, settings: &Path) {
    let user = format!("name={USER},password={}", SecuredKafka::PASSWORD);
    java(folder, jars, &["-Xmx128m"])
        .args(["kafka.tools.StorageTool", "format"])
        // Any 16 bytes in Base64.
        .args(["-t", "dGlkZXdyaWdodC10ZXN0cw", "-c"])
        .arg(settings)
        .args(["--add-scram", &format!("SCRAM-SHA-256=[{user}]")])
        .run(START_LIMIT)
        .wait_for_success(START_LIMIT);
}

fn write_settings(folder: &Path, port: u16, plain_port: u16) -> PathBuf {
    let authority = Authority::new(folder, "house");
    let (cert, key) = authority.certificate(HOST);
    let keystore = folder.join("keystore.pem");
    let pem = [key, cert].map(|path| fs::read_to_string(path).unwrap());
    fs::write(&keystore, pem.concat()).unwrap();
    let controller = format!("{HOST}:{}", free_port());
    let (data, keystore) = (folder.join("data"), keystore.display());
    let data = data.display();
    let password = SecuredKafka::PASSWORD;
    let text = format!(
        r#"process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURED:SASL_SSL
listeners=PLAINTEXT://{HOST}:{plain_port},CONTROLLER://{controller},SECURED://{HOST}:{port}
advertised.listeners=PLAINTEXT://{HOST}:{plain_port},SECURED://{HOST}:{port}
log.dirs={data}
auto.create.topics.enable=false
broker.session.timeout.ms=60000
default.replication.factor=1
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
listener.name.secured.ssl.keystore.type=PEM
listener.name.secured.ssl.keystore.location={keystore}
listener.name.secured.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256
listener.name.secured.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{password}";
listener.name.secured.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"#
    );
    let settings = folder.join("server.properties");
    fs::write(&settings, text).unwrap();
    settings
}
