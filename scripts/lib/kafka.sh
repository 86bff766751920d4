# Kafka in KRaft mode: one node that is broker and controller. Sourced.
# shellcheck shell=bash disable=SC2034 # scripts/services reads the variables

KAFKA_IMAGE=apache/kafka:4.3.1
KAFKA_PORTS=2
KAFKA_READY_SECONDS=90

kafka_address() { printf '127.0.0.1:%s\n' "$1"; }

# kafka_settings HOST PORT CONTROLLER_PORT DATA_FOLDER
# Few partitions of the internal topics and no waiting for group members: a test broker starts and answers fast.
# Transactions may stay open for an hour, so that tests can suspend a writer. A broker that a busy machine has held up for 9 s is usually
# fenced by its controller; of a lone one all partitions are without a leader then, and Kafka leaves out the markers of transactions
# that are aborted meanwhile, so that the next commit of their producer shows their records.
kafka_settings() {
  cat <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$3
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
listeners=PLAINTEXT://$1:$2,CONTROLLER://127.0.0.1:$3
advertised.listeners=PLAINTEXT://127.0.0.1:$2
log.dirs=$4
auto.create.topics.enable=false
broker.session.timeout.ms=60000
default.replication.factor=1
group.initial.rebalance.delay.ms=0
log.retention.hours=-1
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
transaction.max.timeout.ms=3600000
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
END
}

kafka_launch() { # FOLDER PORT CONTROLLER_PORT
  local classpath cluster
  classpath="$(jar_folder kafka)/*"
  cluster=$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '=\n')
  kafka_settings 127.0.0.1 "$2" "$3" "$1/data" >"$1/server.properties"
  java -Xmx128m -XX:TieredStopAtLevel=1 -cp "$classpath" kafka.tools.StorageTool format \
    -t "$cluster" -c "$1/server.properties" >"$1/log" 2>&1 || return 1
  start_process "$1" java -Xms128m -Xmx512m -XX:+UseG1GC -Djava.awt.headless=true \
    -cp "$classpath" kafka.Kafka "$1/server.properties"
}

# The broker reaches itself by its advertised address, so the port is the same inside and outside the container.
kafka_container() { # FOLDER PORT CONTROLLER_PORT
  local setting environment=()
  while IFS= read -r setting; do
    environment+=(--env "$(printf '%s' "${setting%%=*}" | tr 'a-z.' 'A-Z_' | sed 's/^/KAFKA_/')=${setting#*=}")
  done < <(kafka_settings 0.0.0.0 "$2" "$3" /tmp/kafka)
  start_container "$1" --publish "127.0.0.1:$2:$2" --env KAFKA_HEAP_OPTS='-Xms128m -Xmx512m' \
    "${environment[@]}" "$KAFKA_IMAGE"
}

# Metadata request, version 1, no topics. The answer counts the live brokers in its bytes 8 to 12, zero until the broker is
# registered with its controller; only then can topics be created.
kafka_ready() { # PORT
  local answer
  answer=$(ask "$1" '\0\0\0\x0e\0\x03\0\x01\0\0\0\x01\xff\xff\0\0\0\0' 12) || return 1
  [ "${#answer}" -eq 24 ] && [ "${answer:16}" != 00000000 ]
}
