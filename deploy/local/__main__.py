from deploy.local.commands import app

app(prog_name="python -m deploy.local")
