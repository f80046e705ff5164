import uuid

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('wagtail_smtp', '0007_tracking'),
    ]

    operations = [
        migrations.AlterField(
            model_name='settingsset',
            name='authentication',
            field=models.CharField(choices=[('none', 'None'), ('password', 'Username and password'), ('default', 'Default credentials'), ('oauth2', 'OAuth 2')], default='password', help_text='How this site proves to the server that it may send.', max_length=16, verbose_name='authentication'),
        ),
        migrations.CreateModel(
            name='OAuthToken',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('owner', models.UUIDField(default=uuid.uuid4, editable=False)),
                ('fingerprint', models.CharField(editable=False, max_length=64)),
                ('ciphertext', models.TextField(blank=True, editable=False)),
                ('number', models.PositiveIntegerField(default=0, editable=False)),
                ('expires_at', models.DateTimeField(editable=False, null=True)),
                ('lease', models.CharField(blank=True, editable=False, max_length=32)),
                ('leased_until', models.DateTimeField(editable=False, null=True)),
                ('refused_at', models.DateTimeField(editable=False, null=True)),
                ('refusal', models.JSONField(default=dict, editable=False)),
                ('revoked_at', models.DateTimeField(editable=False, null=True)),
            ],
            options={
                'default_permissions': (),
                'constraints': [models.UniqueConstraint(fields=('owner', 'fingerprint'), name='wagtail_smtp_oauthtoken_binding')],
            },
        ),
    ]
