from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('wagtail_smtp', '0005_providers'),
    ]

    operations = [
        migrations.AddField(
            model_name='logrecipient',
            name='provider_id',
            field=models.CharField(blank=True, db_index=True, default='', editable=False, max_length=255),
        ),
    ]
