"""``python -m risk worker``: Faust's command line on the risk service."""

from risk.app import build
from risk.settings import RiskSettings

if __name__ == "__main__":
    build(RiskSettings()).main()
