from ddpm_lightning.cli.train_classifier import main

if __name__ == "__main__":
    main()
