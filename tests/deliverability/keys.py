"""Public RSA keys of DKIM records, by their bits; no one has the private ones."""

KEYS = {
    512: (
        "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAPaIfLUapcCrD2CVzHz76KKtzTMKTQAuM4cvEd5akesUdKzG"
        "3bX7bNyOVEcp5gG/oP5dGlR8IAl9S3uyE17RWV8CAwEAAQ=="
    ),
    1024: (
        "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCdgU77eF0gSN93G7AOy1gBUkvnAKXTLLMMjV/dwTSi"
        "gHL2PloqQURNlyq3tQ7BlnoOodUJpZszQ5HYaqC0hPqvohLuya2eAukFMNlX2QwHQoCOEsfk5MrPeMzy"
        "TdJXUSgDbTuy9WCGw8CfqE7iBooGyXogLZrvZalWGcIbfNnYzwIDAQAB"
    ),
    2048: (
        "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0d4yqpgP59pS/MYj2AUS+YL26NnHGhrrxQ+0"
        "YshWSwbfRdh5msaTJFCtKkrWKR/0qdxD0ZZwYoHKawUYVo0w4Fv1jtx59vcc7gpx/cG9hPldaIuyEAEA"
        "N7g/P48YbRujn2IAX0tMeadAuSoTKvZsECgxb9qnxc6mXkRpIww6L6kBgmGlH8cdLit0dhyV27sHpjo7"
        "DrnyqVsWueGjzzWMaqkUGfSodrngsHTvGOASeuC0tXptk3CmyPDhvLaQ8q6idy8mXvb9QGeSkn4e2pCM"
        "lf0DuB4/0hbQkiajU3tugcdi2QTMz7rvlW0SDIUtHg4jUkcg1kJ7sR5HPjSl/T5WzwIDAQAB"
    ),
}
