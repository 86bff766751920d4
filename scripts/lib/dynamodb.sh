# DynamoDB Local, in memory. Sourced.
# shellcheck shell=bash disable=SC2034 # scripts/services reads the variables

DYNAMODB_IMAGE=amazon/dynamodb-local:2.6.1
DYNAMODB_PORTS=1
DYNAMODB_READY_SECONDS=60
# One database for all regions and credentials; no telemetry.
DYNAMODB_ARGUMENTS=(-inMemory -sharedDb -disableTelemetry)

dynamodb_address() { printf 'http://127.0.0.1:%s\n' "$1"; }

dynamodb_launch() { # FOLDER PORT
  local jars
  jars=$(jar_folder dynamodb)
  start_process "$1" java -Xmx256m "-Djava.library.path=$jars" -cp "$jars/*" \
    com.amazonaws.services.dynamodbv2.local.main.ServerRunner "${DYNAMODB_ARGUMENTS[@]}" -port "$2"
}

dynamodb_container() { # FOLDER PORT
  start_container "$1" --publish "127.0.0.1:$2:8000" "$DYNAMODB_IMAGE" \
    -Xmx256m -jar DynamoDBLocal.jar "${DYNAMODB_ARGUMENTS[@]}"
}

# Any answer in HTTP will do: an unsigned request is refused, by a server that is up.
dynamodb_ready() { # PORT
  [ "$(ask "$1" 'GET / HTTP/1.0\r\nHost: localhost\r\n\r\n' 5)" = "$(hexadecimal HTTP/)" ]
}
