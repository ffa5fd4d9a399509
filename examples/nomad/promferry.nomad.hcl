# promferry on each client of a cluster: scrapes the client's own agent, and sends to Splunk Observability Cloud.
# What has to be there before, and what the values are: README.md beside this file.

variable "datacenters" {
  type    = list(string)
  default = ["*"]
}

variable "promferry_url" {
  type        = string
  description = "An archive that holds the executable promferry; Nomad unpacks it."
}

variable "promferry_checksum" {
  type        = string
  description = "Of the archive: sha256:…"
}

variable "realm" {
  type        = string
  description = "The realm of Splunk Observability Cloud, such as us1 or eu0."
}

job "promferry" {
  type        = "system"
  datacenters = var.datacenters

  group "promferry" {
    network {
      mode = "host"
    }

    # The queue on disk lies in alloc/data. It outlives a restart of the task, not a new allocation.
    ephemeral_disk {
      size = 500
    }

    task "promferry" {
      driver = "exec"

      config {
        command = "local/bin/promferry"
        args    = ["run", "-c", "local/promferry.yml"]
      }

      artifact {
        source      = var.promferry_url
        destination = "local/bin"
        options {
          checksum = var.promferry_checksum
        }
      }

      # Nomad's token for this task: secrets/nomad_token. promferry reads it again when Nomad renews it.
      identity {
        file = true
      }

      # What promferry reads again by itself when it changes needs no signal.
      template {
        destination = "secrets/splunk_token"
        perms       = "600"
        change_mode = "noop"
        data        = "{{ with nomadVar \"nomad/jobs/promferry\" }}{{ .splunk_token }}{{ end }}"
      }

      template {
        destination = "secrets/nomad_ca.pem"
        change_mode = "noop"
        data        = "{{ with nomadVar \"nomad/jobs/promferry\" }}{{ .nomad_ca }}{{ end }}"
      }

      template {
        destination = "secrets/client.pem"
        change_mode = "noop"
        data        = "{{ with nomadVar \"nomad/jobs/promferry\" }}{{ .client_cert }}{{ end }}"
      }

      template {
        destination = "secrets/client_key.pem"
        perms       = "600"
        change_mode = "noop"
        data        = "{{ with nomadVar \"nomad/jobs/promferry\" }}{{ .client_key }}{{ end }}"
      }

      # Paths start from the folder of the file, which is local/.
      template {
        destination   = "local/promferry.yml"
        change_mode   = "signal"
        change_signal = "SIGHUP"
        data          = <<-EOF
          global:
            scrape_interval: 10s
            detect: [nomad, host]
            external_labels:
              nomad_node_name: '{{ env "node.unique.name" }}'
              # promferry's own names: they would be taken for those of what a metric tells of.
              nomad_job_name: ""
              nomad_group_name: ""
              nomad_task_name: ""
              nomad_alloc_id: ""
              nomad_alloc_index: ""
          scrape_configs:
            - job_name: nomad
              scheme: https
              metrics_path: /v1/metrics
              params: {format: [prometheus]}
              tls_config:
                ca_file: ../secrets/nomad_ca.pem
                cert_file: ../secrets/client.pem
                key_file: ../secrets/client_key.pem
                server_name: 'client.{{ env "NOMAD_REGION" }}.nomad'
              authorization: {credentials_file: ../secrets/nomad_token}
              static_configs:
                - targets: ['{{ env "attr.unique.network.ip-address" }}:4646']
            # Services of this machine that have the tag "metrics", cAdvisor and node_exporter among them.
            - job_name: services
              nomad_sd_configs:
                - server: 'https://{{ env "attr.unique.network.ip-address" }}:4646'
                  namespace: "*"
                  region: '{{ env "NOMAD_REGION" }}'
                  tls_config:
                    ca_file: ../secrets/nomad_ca.pem
                    cert_file: ../secrets/client.pem
                    key_file: ../secrets/client_key.pem
                    server_name: 'client.{{ env "NOMAD_REGION" }}.nomad'
                  authorization: {credentials_file: ../secrets/nomad_token}
              relabel_configs:
                - {source_labels: [__meta_nomad_node_id], regex: '{{ env "node.unique.id" }}', action: keep}
                - {source_labels: [__meta_nomad_tags], regex: ".*,metrics,.*", action: keep}
                - {source_labels: [__meta_nomad_service], target_label: job}
          outputs:
            - name: splunk
              signalfx: {realm: '${var.realm}', token_file: ../secrets/splunk_token}
              queue: {disk: {path: ../../alloc/data/queue, max_bytes: 256MiB}}
          admin: {listen: "127.0.0.1:9698"}
        EOF
      }

      # SIGTERM drains, for 8 s at most.
      kill_signal  = "SIGTERM"
      kill_timeout = "10s"

      resources {
        cpu    = 50
        memory = 64
      }
    }
  }
}
